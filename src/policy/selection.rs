//! Which of the messages to one path a route is for: by their placement, their portal and its member. Bitrix24
//! lets one address of a handler receive everything, and what comes there need not be served by one upstream.

use std::collections::BTreeSet;

use super::pattern::Pattern;
use crate::request::field::{Domain, Field, MemberId, MemberIdShape, Placement};
use crate::request::form::Form;

/// What a route wants of one field.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Wanted {
    /// Nothing: the field need not even be there.
    #[default]
    Anything,
    /// A value that fits one of these; never none.
    OneOf(Vec<Pattern>),
}

impl Wanted {
    fn fits(&self, value: Option<&str>) -> bool {
        match self {
            Wanted::Anything => true,
            Wanted::OneOf(patterns) => {
                value.is_some_and(|value| patterns.iter().any(|pattern| pattern.fits(value)))
            }
        }
    }

    /// Each pattern, or none for whatever there is.
    fn each(&self) -> Vec<Option<&Pattern>> {
        match self {
            Wanted::Anything => vec![None],
            Wanted::OneOf(patterns) => patterns.iter().map(Some).collect(),
        }
    }

    fn covers(&self, other: Option<&Pattern>) -> bool {
        match (self, other) {
            (Wanted::Anything, _) => true,
            (Wanted::OneOf(_), None) => false,
            (Wanted::OneOf(patterns), Some(other)) => patterns.iter().any(|pattern| pattern.covers(other)),
        }
    }

    /// As the configuration spells them; none where nothing is wanted.
    pub fn spelled(&self) -> Option<Vec<String>> {
        match self {
            Wanted::Anything => None,
            Wanted::OneOf(patterns) => Some(patterns.iter().map(Pattern::spelled).collect()),
        }
    }
}

/// The messages that a route is for, of those that come to its path; the default is all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Of PLACEMENT.
    pub placements: Wanted,
    /// Of the portal's domain, normalized.
    pub domains: Wanted,
    /// Of the portal's member_id.
    pub members: Wanted,
}

impl Selection {
    /// Its keys, each with what it wants.
    fn keys(&self) -> [(&'static str, &Wanted); 3] {
        let Selection {
            placements,
            domains,
            members,
        } = self;
        [
            ("placements", placements),
            ("domains", domains),
            ("members", members),
        ]
    }

    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        self.keys().iter().all(|(_, wanted)| **wanted == Wanted::Anything)
    }

    /// The first key that a message does not fit; none where it fits.
    pub fn misfit(&self, seen: &Seen) -> Option<&'static str> {
        let values = [
            seen.placement.as_ref().map(Placement::as_str),
            seen.domain.as_ref().map(Domain::as_str),
            seen.member_id.as_deref(),
        ];
        let mut keys = self.keys().into_iter().zip(values);
        let misfit = keys.find(|((_, wanted), value)| !wanted.fits(*value));
        misfit.map(|((key, _), _)| key)
    }

    /// Whether each message that fits it fits one of the others, at most 64 of which are looked at.
    pub fn is_covered_by(&self, others: &[&Selection]) -> bool {
        // A pattern is covered by one other pattern or by none: values go on without an end. So it is enough to
        // look at each combination of patterns, and patterns that the same others cover are one.
        let covering = |wanted: fn(&Selection) -> &Wanted| -> BTreeSet<u64> {
            let covering = |pattern: Option<&Pattern>| {
                let others = others.iter().take(64).enumerate();
                let covering = others.filter(|(_, other)| wanted(other).covers(pattern));
                covering.fold(0, |bits, (at, _)| bits | 1 << at)
            };
            wanted(self).each().into_iter().map(covering).collect()
        };
        let placements = covering(|selection| &selection.placements);
        let domains = covering(|selection| &selection.domains);
        let members = covering(|selection| &selection.members);
        let is_covered = |bits: u64| members.iter().all(|member| bits & member != 0);
        // A key that nothing fits is wrong by itself.
        let is_for_some = ![&placements, &domains, &members].iter().any(|key| key.is_empty());
        is_for_some
            && placements
                .iter()
                .all(|placement| domains.iter().all(|domain| is_covered(placement & domain)))
    }
}

/// What selections look at. What is not there, breaks the grammar of its type or could be read in two ways fits
/// no pattern.
#[derive(Debug, Default)]
pub struct Seen {
    placement: Option<Placement>,
    domain: Option<Domain>,
    member_id: Option<String>,
}

impl Seen {
    /// What a form has of it.
    pub fn in_form(form: &Form<'_>, shape: MemberIdShape) -> Seen {
        let member_id = one(form, Field::MemberId, Field::AuthMemberId);
        let parsed = member_id.and_then(|value| MemberId::parse(value, shape).ok());
        Seen {
            placement: form
                .value(Field::Placement)
                .and_then(|value| Placement::parse(value).ok()),
            domain: one(form, Field::Domain, Field::AuthDomain).and_then(|value| Domain::parse(value).ok()),
            member_id: parsed.map(|member_id| member_id.to_string()),
        }
    }
}

/// The value of the portal in either shape; none where they name two portals.
fn one<'f>(form: &'f Form<'_>, flat: Field, below: Field) -> Option<&'f [u8]> {
    let value = |field| form.value(field).filter(|value| !value.is_empty());
    match (value(flat), value(below)) {
        (Some(a), Some(b)) if !flat.is_same(a, b) => None,
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(patterns: &str) -> Wanted {
        match patterns {
            "" => Wanted::Anything,
            patterns => Wanted::OneOf(patterns.split(' ').map(|p| Pattern::parse(p).unwrap()).collect()),
        }
    }

    fn selection([placements, domains, members]: [&str; 3]) -> Selection {
        Selection {
            placements: wanted(placements),
            domains: wanted(domains),
            members: wanted(members),
        }
    }

    #[test]
    fn a_message_fits_every_key_or_is_told_the_first_that_it_does_not() {
        const PLACEMENT: &str =
            "PLACEMENT=CRM_DEAL_DETAIL_TAB&DOMAIN=Portal.example&member_id=3f7a90c1d2e45b68a0719cbe8d243f56";
        const EVENT: &str =
            "event=x&auth[domain]=portal.example&auth[member_id]=3f7a90c1d2e45b68a0719cbe8d243f56";
        for (body, keys, misfit) in [
            (PLACEMENT, ["", "", ""], None),
            (PLACEMENT, ["CRM_*", "portal.*", "3f*"], None),
            (PLACEMENT, ["X CRM_DEAL_DETAIL_TAB", "portal.example", ""], None),
            (PLACEMENT, ["CRM_DEAL", "x", ""], Some("placements")),
            (PLACEMENT, ["CRM_*", "portal", "x"], Some("domains")),
            (PLACEMENT, ["", "", "4*"], Some("members")),
            (EVENT, ["", "portal.example", "3f*"], None),
            (EVENT, ["*", "", ""], Some("placements")),
            ("PLACEMENT=a b", ["*", "", ""], Some("placements")),
            ("PLACEMENT=a&PLACEMENT=b", ["*", "", ""], Some("placements")),
            ("member_id=3F", ["", "", "*"], Some("members")),
            ("auth[domain]=a.b&DOMAIN=c.d", ["", "*", ""], Some("domains")),
            ("auth[domain]=a.b&DOMAIN=A.b:", ["", "a.b", ""], None),
            ("auth[domain]=a.b&DOMAIN=", ["", "a.b", ""], None),
        ] {
            let form = Form::parse(b"", body.as_bytes(), 1000).unwrap();
            let seen = Seen::in_form(&form, MemberIdShape::Hex32);
            assert_eq!(selection(keys).misfit(&seen), misfit, "{body} {keys:?}");
        }
    }

    #[test]
    fn what_several_cover_together_is_covered() {
        for (own, others, covered) in [
            (["", "", ""], &[["", "", ""]][..], true),
            (["", "", ""], &[["*", "", ""]], false),
            (["A_B A_C*", "", ""], &[["A_*", "", ""]], true),
            (["A_B A_C*", "", ""], &[["A_B", "", ""], ["A_*", "x", ""]], false),
            (["A_B A_C*", "", ""], &[["A_B", "", ""], ["A_C*", "", ""]], true),
            (["A B", "x y", ""], &[["A", "", ""], ["B", "x", ""]], false),
            (
                ["A B", "x y", ""],
                &[["A", "", ""], ["B", "x", ""], ["", "y z*", ""]],
                true,
            ),
            (["A", "x", "m"], &[["A", "", "m"]], true),
            (["A", "x", ""], &[["A", "", "m"]], false),
            (["A*", "", ""], &[["A", "", ""]], false),
            (["A", "", ""], &[], false),
        ] {
            let others: Vec<_> = others.iter().map(|keys| selection(*keys)).collect();
            let others: Vec<_> = others.iter().collect();
            assert_eq!(selection(own).is_covered_by(&others), covered, "{own:?}");
        }
    }

    #[test]
    fn a_star_stands_at_the_end() {
        for bad in ["*a", "a*b", "**"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Pattern::parse("*"), Ok(Pattern::Prefix("".into())));
    }
}
