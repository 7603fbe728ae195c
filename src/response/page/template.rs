//! The page as a template: the one that is built in, or the operator's (`[widget] refusal_page`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::situation::{Situation, Todo};
use super::words::Words;
use crate::response::rejection::Reason;

const NAME: &str = "page";
/// A page takes some hundred steps; a template that loops without end is refused.
const FUEL: u64 = 100_000;

/// A page with placeholders, each of which was found to be known.
pub struct Template {
    /// Where it was read; none where it is built in.
    path: Option<PathBuf>,
    source: String,
    environment: Environment<'static>,
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        (&self.path, &self.source) == (&other.path, &other.source)
    }
}

impl Eq for Template {}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a page tells of one refusal.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Why.
    pub reason: Reason,
    /// Of the reply.
    pub status: u16,
    /// Why, for users.
    pub situation: Situation,
    /// Seconds until it is worth to try again, where that is known.
    pub retry_after: Option<u64>,
    /// For the log.
    pub request_id: &'a str,
    /// What inline scripts and styles are allowed by.
    pub nonce: &'a str,
}

impl Template {
    /// Reads a template and tries it on every refusal in every language.
    ///
    /// # Errors
    /// What is wrong with it, and in which of its lines.
    pub fn parse(path: &Path, source: &str) -> Result<Template, String> {
        let template = Template::compiled(Some(path.to_owned()), source)?;
        for words in Words::all() {
            for reason in Reason::ALL {
                let told = Told {
                    reason,
                    status: reason.status(),
                    situation: Situation::Unreadable,
                    retry_after: (reason.status() == 429).then_some(1),
                    request_id: "0123456789abcdef0123456789abcdef",
                    nonce: "0123456789abcdef",
                };
                template.render(words, &told)?;
            }
        }
        Ok(template)
    }

    /// The one that is built in. None if it does not parse, which a test sees.
    pub fn built_in() -> Option<&'static Template> {
        static BUILT_IN: LazyLock<Option<Template>> =
            LazyLock::new(|| Template::compiled(None, include_str!("refusal.html")).ok());
        BUILT_IN.as_ref()
    }

    /// Where the operator's was read.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn compiled(path: Option<PathBuf>, source: &str) -> Result<Template, String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(true);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| place(&error, source))?;
        Ok(Template {
            path,
            source: source.to_owned(),
            environment,
        })
    }

    /// The page in these words.
    ///
    /// # Errors
    /// What is wrong with the template; none was wrong with one that was read.
    pub fn render(&self, words: &Words, told: &Told<'_>) -> Result<String, String> {
        let Told {
            reason,
            status,
            situation,
            retry_after,
            request_id,
            nonce,
        } = *told;
        let (said, todo) = (words.said(situation), Todo::of(situation, status));
        let fault = |error| place(&error, &self.source);
        let page = self.environment.get_template(NAME).map_err(fault)?;
        page.render(context! {
            lang => words.language.to_string(),
            dir => words.direction(),
            title => said.title.as_str(),
            text => said.text.as_str(),
            todo => words.todo(todo),
            can_retry => todo == Todo::Wait,
            retry_after => retry_after.unwrap_or_default(),
            retry => words.retry.as_str(),
            help => words.help.as_str(),
            copy => words.copy.as_str(),
            copied => words.copied.as_str(),
            status => status,
            code => reason.code(),
            request_id => request_id,
            nonce => nonce,
        })
        .map_err(fault)
    }
}

/// `LINE:COL: what`, from 1.
fn place(error: &minijinja::Error, source: &str) -> String {
    let begin = error.range().map_or(0, |range| range.start);
    let before = source.get(..begin).unwrap_or_default();
    let line = error.line().unwrap_or(1);
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let kind = error.kind();
    let shown = error.range().and_then(|range| source.get(range));
    match (error.detail(), shown) {
        (Some(detail), _) => format!("{line}:{column}: {kind}: {detail}"),
        (None, Some(shown)) if shown.len() <= 60 => format!("{line}:{column}: {kind}: {shown}"),
        (None, _) => format!("{line}:{column}: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_page_is_one_that_an_operator_could_write() {
        let built_in = Template::built_in().unwrap();
        let read = Template::parse(Path::new("mine.html"), &built_in.source).unwrap();
        assert_eq!(read.path(), Some(Path::new("mine.html")));
        assert_ne!(*built_in, read);
    }

    #[test]
    fn a_faulty_template_is_told_with_its_place() {
        for (source, want) in [
            ("<p>{{ title }</p>", "1:"),
            ("<p>\n\u{e9} {{ name }}</p>", "2:"),
            ("{% if can_retry %}", "1:"),
            ("a\n\n{% if status == 404 %}{{ detail }}{% endif %}", "3:"),
            ("{{ title | unheard_of }}", "1:"),
            (
                "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}",
                "1:",
            ),
            ("{{ title.x.y }}", "1:"),
            ("{% include \"/etc/passwd\" %}", "1:"),
        ] {
            let told = Template::parse(Path::new("x.html"), source).unwrap_err();
            assert!(told.starts_with(want) && told.len() > 8, "{source}: {told}");
        }
    }

    #[test]
    fn values_are_text() {
        let template = Template::compiled(None, "<b>{{ request_id }}</b>").unwrap();
        let told = Told {
            reason: Reason::NotFound,
            status: 404,
            situation: Situation::Missing,
            retry_after: None,
            request_id: "<i>&\"",
            nonce: "",
        };
        let page = template.render(&Words::all()[0], &told).unwrap();
        assert_eq!(page, "<b>&lt;i&gt;&amp;&quot;</b>");
    }
}
