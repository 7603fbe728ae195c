//! The words of the page in the languages of portals. The catalogues stand in `messages/`, a file per language.

use std::sync::LazyLock;

use fluent_bundle::{FluentBundle, FluentResource};
use fluent_langneg::NegotiationStrategy;
use fluent_langneg::negotiate::filter_matches;
use unic_langid::{CharacterDirection, LanguageIdentifier};

use super::situation::{Situation, Todo};

/// Everything that the page says in one language.
#[derive(Debug)]
pub struct Words {
    /// BCP 47.
    pub language: LanguageIdentifier,
    situations: [Said; Situation::ALL.len()],
    todos: [String; Todo::ALL.len()],
    /// On the button that loads the frame again.
    pub retry: String,
    /// Above what an administrator needs.
    pub help: String,
    /// On the button that copies it.
    pub copy: String,
    /// Once it was copied.
    pub copied: String,
}

/// What is said of one situation.
#[derive(Debug)]
pub struct Said {
    /// In a few words.
    pub title: String,
    /// In a sentence.
    pub text: String,
}

impl AsRef<LanguageIdentifier> for Words {
    fn as_ref(&self) -> &LanguageIdentifier {
        &self.language
    }
}

impl Words {
    /// Of a situation.
    pub fn said(&self, situation: Situation) -> &Said {
        let [first, ..] = &self.situations;
        self.situations.get(situation as usize).unwrap_or(first)
    }

    /// What one can do.
    pub fn todo(&self, todo: Todo) -> &str {
        self.todos.get(todo as usize).map_or("", String::as_str)
    }

    /// `rtl` or `ltr`.
    pub fn direction(&self) -> &'static str {
        match self.language.character_direction() {
            CharacterDirection::RTL => "rtl",
            CharacterDirection::LTR | CharacterDirection::TTB => "ltr",
        }
    }

    /// Every language; English first.
    pub fn all() -> &'static [Words] {
        &ALL
    }

    /// In the first of these languages that there is, else in English. None where there is not one catalogue.
    pub fn in_first_of(wanted: &[LanguageIdentifier]) -> Option<&'static Words> {
        let found = filter_matches(wanted, Words::all(), NegotiationStrategy::Lookup);
        found.into_iter().next().or(Words::all().first())
    }

    fn read(tag: &str, catalogue: &str) -> Result<Words, String> {
        let language: LanguageIdentifier = tag.parse().map_err(|e| format!("{tag}: {e}"))?;
        let resource = FluentResource::try_new(catalogue.to_owned())
            .map_err(|(_, faults)| format!("{tag}: {faults:?}"))?;
        let mut bundle = FluentBundle::new(vec![language.clone()]);
        bundle
            .add_resource(resource)
            .map_err(|faults| format!("{tag}: {faults:?}"))?;
        let catalogue = Catalogue { tag, bundle };
        let mut situations = Vec::new();
        for situation in Situation::ALL {
            situations.push(Said {
                title: catalogue.value(situation.label(), None)?,
                text: catalogue.value(situation.label(), Some("text"))?,
            });
        }
        let mut todos = Vec::new();
        for todo in Todo::ALL {
            todos.push(catalogue.value(todo.label(), None)?);
        }
        let whole = |_| format!("{tag}: a message too few");
        Ok(Words {
            situations: situations.try_into().map_err(|_| whole(()))?,
            todos: todos.try_into().map_err(|_| whole(()))?,
            retry: catalogue.value("retry", None)?,
            help: catalogue.value("help", None)?,
            copy: catalogue.value("copy", None)?,
            copied: catalogue.value("copied", None)?,
            language,
        })
    }
}

struct Catalogue<'t> {
    tag: &'t str,
    bundle: FluentBundle<FluentResource>,
}

impl Catalogue<'_> {
    fn value(&self, id: &str, attribute: Option<&str>) -> Result<String, String> {
        let message = self.bundle.get_message(id);
        let pattern = message.and_then(|message| match attribute {
            None => message.value(),
            Some(name) => message.get_attribute(name).map(|attribute| attribute.value()),
        });
        let pattern =
            pattern.ok_or_else(|| format!("{}: {id} has no {}", self.tag, attribute.unwrap_or("value")))?;
        let mut faults = Vec::new();
        let value = self
            .bundle
            .format_pattern(pattern, None, &mut faults)
            .into_owned();
        match faults.as_slice() {
            [] => Ok(value),
            faults => Err(format!("{}: {id}: {faults:?}", self.tag)),
        }
    }
}

macro_rules! catalogues {
    ($($tag:literal)+) => {
        [$(($tag, include_str!(concat!("messages/", $tag, ".ftl")))),+]
    };
}

const CATALOGUES: [(&str, &str); 20] = catalogues! {
    "en" "ar" "de" "es" "fr" "hi" "id" "it" "ja" "kk" "ms" "pl" "pt-BR" "ru" "th" "tr" "uk" "vi" "zh-CN" "zh-TW"
};

/// Read at the first refusal; a test reads every one.
static ALL: LazyLock<Vec<Words>> = LazyLock::new(|| {
    let read = CATALOGUES
        .iter()
        .map(|(tag, catalogue)| Words::read(tag, catalogue));
    read.filter_map(Result::ok).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_catalogue_is_whole_and_plain() {
        for (tag, catalogue) in CATALOGUES {
            let words = Words::read(tag, catalogue).unwrap();
            assert!(words.situations.iter().all(|said| said.title != said.text));
        }
        assert_eq!(Words::all().len(), CATALOGUES.len());
        assert_eq!(Words::all()[0].language, "en");
        let rtl = Words::all().iter().filter(|words| words.direction() == "rtl");
        assert_eq!(
            rtl.map(|words| words.language.to_string()).collect::<Vec<_>>(),
            ["ar"]
        );
    }

    /// What a browser shows in a catalogue of another script than Latin is of that language.
    #[test]
    fn no_catalogue_is_left_in_english() {
        let [english, others @ ..] = Words::all() else {
            panic!("no catalogue");
        };
        for words in others {
            for situation in Situation::ALL {
                let (said, in_english) = (words.said(situation), english.said(situation));
                assert_ne!(said.title, in_english.title, "{}", words.language);
                assert_ne!(said.text, in_english.text, "{}", words.language);
            }
            for todo in Todo::ALL {
                assert_ne!(words.todo(todo), english.todo(todo), "{}", words.language);
            }
            assert_ne!(words.help, english.help);
            assert_ne!(words.retry, english.retry, "{}", words.language);
            assert_ne!(words.copy, english.copy, "{}", words.language);
            assert_ne!(words.copied, english.copied, "{}", words.language);
        }
    }

    #[test]
    fn languages_are_negotiated() {
        let of = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|tag| tag.parse().unwrap()).collect();
            Words::in_first_of(&wanted).unwrap().language.to_string()
        };
        for (wanted, want) in [
            (&["ru"][..], "ru"),
            (&["uk-UA"], "uk"),
            (&["pt"], "pt-BR"),
            (&["pt-PT"], "pt-BR"),
            (&["zh"], "zh-CN"),
            (&["zh-Hant"], "zh-TW"),
            (&["zh-HK"], "zh-TW"),
            (&["de-AT", "fr"], "de"),
            (&["sv", "fr-CA"], "fr"),
            (&["sv"], "en"),
            (&["und"], "en"),
            (&[], "en"),
        ] {
            assert_eq!(of(wanted), want, "{wanted:?}");
        }
    }
}
