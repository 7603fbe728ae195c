//! Which messages a widget route is for, and routes that no message reaches.

use std::collections::HashMap;
use std::ops::Range;

use http::Method;

use crate::config::fault::Faults;
use crate::config::file::RouteTable;
use crate::config::values::{At, Placed, quoted};
use crate::policy::pattern::Pattern;
use crate::policy::route::PathRule;
use crate::policy::selection::{Selection, Wanted};
use crate::request::field::{Domain, MemberId, MemberIdShape, Placement};

pub(super) fn selection(table: &RouteTable, shape: MemberIdShape, faults: &mut Faults<'_>) -> Selection {
    Selection {
        placements: wanted(&table.placements, placement, faults),
        domains: wanted(&table.domains, domain, faults),
        members: wanted(&table.members, |pattern| member(pattern, shape), faults),
    }
}

fn wanted(
    list: &Option<Placed<Vec<At<String>>>>,
    could_be: impl Fn(&Pattern) -> Result<Pattern, &'static str>,
    faults: &mut Faults<'_>,
) -> Wanted {
    let Some(Placed { value, span: whole }) = list else {
        return Wanted::Anything;
    };
    let mut patterns: Vec<Pattern> = Vec::new();
    for At { value: given, span } in value {
        match Pattern::parse(given).and_then(|pattern| could_be(&pattern)) {
            Ok(pattern) if patterns.contains(&pattern) => faults.twice(span, &quoted(given)),
            Ok(pattern) => patterns.push(pattern),
            Err(allowed) => faults.at(span, format!("{} can never match, {allowed}", quoted(given))),
        }
    }
    if value.is_empty() {
        let message = "is empty, so the route takes no message, at least one pattern is needed";
        faults.empty(whole, message);
    }
    Wanted::OneOf(patterns)
}

// A pattern that no sound value fits is a mistake of spelling, most of all.

fn placement(pattern: &Pattern) -> Result<Pattern, &'static str> {
    let text = match pattern {
        Pattern::Exact(text) => text,
        Pattern::Prefix(text) if text.is_empty() => return Ok(pattern.clone()),
        Pattern::Prefix(text) => text,
    };
    match Placement::parse(text.as_bytes()) {
        Ok(_) => Ok(pattern.clone()),
        Err(_) => Err("a placement is 1 to 128 of A-Za-z0-9_.*:-"),
    }
}

fn domain(pattern: &Pattern) -> Result<Pattern, &'static str> {
    let allowed = "a domain is host or host:port, without scheme or path";
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    match pattern {
        Pattern::Exact(text) => match Domain::parse(text.as_bytes()) {
            Ok(domain) => Ok(Pattern::Exact(domain.as_str().into())),
            Err(_) => Err(allowed),
        },
        Pattern::Prefix(text) if text.len() <= 262 && text.bytes().all(is_part) => {
            Ok(Pattern::Prefix(text.to_ascii_lowercase().into()))
        }
        Pattern::Prefix(_) => Err(allowed),
    }
}

fn member(pattern: &Pattern, shape: MemberIdShape) -> Result<Pattern, &'static str> {
    let could_be = match (pattern, shape) {
        (Pattern::Exact(text), _) => MemberId::parse(text.as_bytes(), shape).is_ok(),
        (Pattern::Prefix(text), MemberIdShape::Hex32) => {
            text.len() <= 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }
        (Pattern::Prefix(text), MemberIdShape::Token) => {
            text.is_empty() || MemberId::parse(text.as_bytes(), shape).is_ok()
        }
    };
    match (could_be, shape) {
        (true, _) => Ok(pattern.clone()),
        (false, MemberIdShape::Hex32) => {
            Err("a member_id is 32 of 0-9 and a-f ([widget] member_id = \"hex32\")")
        }
        (false, MemberIdShape::Token) => {
            Err("a member_id is 1 to 64 of A-Za-z0-9_- ([widget] member_id = \"token\")")
        }
    }
}

/// What the routes before take of each path and method.
#[derive(Default)]
pub(super) struct Claims(HashMap<(PathRule, Method), Vec<(usize, Selection)>>);

impl Claims {
    /// A route in this line takes a method of a path, a pass route whatever comes. Which lines leave nothing of
    /// it to that route; none where it is reached.
    pub(super) fn take(
        &mut self,
        path: &PathRule,
        method: &Method,
        line: usize,
        selection: Option<&Selection>,
    ) -> Vec<usize> {
        let before = self.0.entry((path.clone(), method.clone())).or_default();
        let lines = |some: &[(usize, Selection)]| some.iter().map(|(line, _)| *line).collect::<Vec<_>>();
        let taken = match selection {
            // Where calls are checked nothing goes by unchecked.
            None => before.first().map_or_else(Vec::new, |first| vec![first.0]),
            Some(selection) => {
                let selections: Vec<_> = before.iter().map(|(_, selection)| selection).collect();
                match before.iter().find(|(_, other)| selection.is_covered_by(&[other])) {
                    Some((line, _)) => vec![*line],
                    None if selection.is_covered_by(&selections) => lines(before),
                    None => Vec::new(),
                }
            }
        };
        if taken.is_empty() {
            before.push((line, selection.cloned().unwrap_or_default()));
        }
        taken
    }
}

/// Tells that nothing of a method of the path is left.
pub(super) fn unreached(what: &str, path: &str, lines: &[usize], at: &Range<usize>, faults: &mut Faults<'_>) {
    match lines {
        [line] => faults.at(
            at,
            format!("{what} of {path:?} goes to the route in line {line}, allowed is one route for it"),
        ),
        lines => {
            let lines: Vec<_> = lines.iter().map(usize::to_string).collect();
            let lines = lines.join(", ");
            faults.at(
                at,
                format!(
                    "{what} of {path:?} goes to the routes in lines {lines}, allowed is a route that they leave something to"
                ),
            );
        }
    }
}
