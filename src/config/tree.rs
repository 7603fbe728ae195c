//! The file as a tree with positions: where a key stands, and how to take a bad value out so that the
//! rest can be read.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeValue};

/// Positions to key paths, made once for a file that has faults.
pub(super) struct Index<'t> {
    nodes: Vec<Node<'t>>,
    by_value: HashMap<(usize, usize), usize>,
    by_key: HashMap<(usize, usize), usize>,
}

struct Node<'t> {
    parent: Option<usize>,
    step: Step<'t>,
    start: usize,
}

enum Step<'t> {
    Root,
    Key(&'t str),
    Item(usize),
}

impl<'t> Index<'t> {
    pub(super) fn of(root: &'t Spanned<DeValue<'t>>) -> Index<'t> {
        let mut index = Index {
            nodes: Vec::new(),
            by_value: HashMap::new(),
            by_key: HashMap::new(),
        };
        index.add(root, None, Step::Root);
        index
    }

    fn add(&mut self, node: &'t Spanned<DeValue<'t>>, parent: Option<usize>, step: Step<'t>) -> usize {
        let this = self.nodes.len();
        let span = node.span();
        self.nodes.push(Node {
            parent,
            step,
            start: span.start,
        });
        // Children come after their parents: of `[[routes]]`, which is the place of the list and of its
        // first item, the item stays.
        self.by_value.insert((span.start, span.end), this);
        match node.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table.iter() {
                    let child = self.add(value, Some(this), Step::Key(key.get_ref()));
                    self.by_key.insert((key.span().start, key.span().end), child);
                }
            }
            DeValue::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.add(item, Some(this), Step::Item(at));
                }
            }
            _ => {}
        }
        this
    }

    /// The path of the value that stands here, or else of the key.
    pub(super) fn of_value(&self, span: &Range<usize>) -> String {
        self.first(span, [&self.by_value, &self.by_key])
    }

    /// The path of the key that stands here, or else of the value.
    pub(super) fn of_key(&self, span: &Range<usize>) -> String {
        self.first(span, [&self.by_key, &self.by_value])
    }

    fn first(&self, span: &Range<usize>, maps: [&HashMap<(usize, usize), usize>; 2]) -> String {
        let node = maps.into_iter().find_map(|map| map.get(&(span.start, span.end)));
        node.map(|&node| self.path(node)).unwrap_or_default()
    }

    /// Where the value of this path stands.
    pub(super) fn position(&self, path: &str) -> Option<usize> {
        self.nodes
            .iter()
            .enumerate()
            .find(|(at, _)| self.path(*at) == path)
            .map(|(_, node)| node.start)
    }

    fn path(&self, node: usize) -> String {
        let mut steps = Vec::new();
        let mut at = self.nodes.get(node);
        while let Some(node) = at {
            steps.push(&node.step);
            at = node.parent.and_then(|parent| self.nodes.get(parent));
        }
        steps
            .into_iter()
            .rev()
            .fold(String::new(), |path, step| match step {
                Step::Root => path,
                Step::Item(at) => format!("{path}[{at}]"),
                Step::Key(key) => below(&path, key),
            })
    }
}

/// The path of a key in the table of this path.
pub(super) fn below(path: &str, key: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let dot = if path.is_empty() { "" } else { "." };
    match !key.is_empty() && key.bytes().all(is_plain) {
        true => format!("{path}{dot}{key}"),
        false => format!("{path}{dot}{key:?}"),
    }
}

/// What is to be taken out of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Place {
    /// The entry whose key stands there.
    Key,
    /// The value that stands there; a list's first item before the list.
    #[default]
    Value,
    /// The list that stands there.
    List,
}

/// Takes a node out. `false` where there is none.
pub(super) fn remove(node: &mut DeValue<'_>, span: &Range<usize>, place: Place) -> bool {
    match node {
        DeValue::Table(table) => {
            let below = |value: &mut Spanned<DeValue<'_>>| remove(value.get_mut(), span, place);
            if place != Place::List && table.iter_mut().any(|(_, value)| below(value)) {
                return true;
            }
            let hit = table.iter().find(|(key, value)| match place {
                Place::Key => key.span() == *span,
                Place::Value | Place::List => value.span() == *span || key.span() == *span,
            });
            match hit.map(|(key, _)| key.clone()) {
                Some(key) => table.remove(&key).is_some(),
                None => place == Place::List && table.iter_mut().any(|(_, value)| below(value)),
            }
        }
        DeValue::Array(items) => {
            if items.iter_mut().any(|item| remove(item.get_mut(), span, place)) {
                return true;
            }
            let before = items.len();
            let kept = std::mem::replace(items, DeArray::new());
            let mut found = false;
            for item in kept {
                if !found && item.span() == *span {
                    found = true;
                } else {
                    items.push(item);
                }
            }
            items.len() < before
        }
        _ => false,
    }
}

/// Where a key has more dots than any file needs. The tree is walked recursively, and dotted keys are
/// the one thing the parser lets nest without end.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let (mut dots, mut quote, mut escaped) = (0, None, false);
        for b in line.bytes() {
            match (b, quote) {
                _ if escaped => escaped = false,
                (b'\\', Some(b'"')) => escaped = true,
                (b, Some(open)) if b == open => quote = None,
                (_, Some(_)) => {}
                (b'"' | b'\'', None) => quote = Some(b),
                (b'#', None) => break,
                (b'=' | b',' | b'[' | b'{', None) => dots = 0,
                (b'.', None) => dots += 1,
                _ => {}
            }
            if dots > 16 {
                return Some(offset);
            }
        }
        offset += line.len();
    }
    None
}
