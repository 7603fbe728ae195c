//! One JSON object, written field by field into a buffer: for the problem document and the access log,
//! which are made for every request. Nearly every text of theirs needs no escaping, and is copied.

/// An object that is being written. Dropping it without [`Object::end`] leaves it open.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    /// Begins an object at the end of `out`.
    pub fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        out.push(b'{');
        Object { out, is_empty: true }
    }

    // Inlined where it is called with a literal, whose bytes are then stored and not copied.
    #[inline(always)]
    fn name(&mut self, name: &'static str) {
        self.out.reserve(name.len() + 4);
        self.out
            .extend_from_slice(if self.is_empty { b"\"" } else { b",\"" });
        self.is_empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A text.
    #[inline(always)]
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        text(self.out, value);
    }

    /// A field whose text is a word of ours, which needs no escaping.
    #[inline(always)]
    pub fn label(&mut self, name: &'static str, label: &'static str) {
        self.token(name, label);
    }

    /// A text of letters, digits and punctuation that need no escaping, as its own grammar or type says.
    #[inline(always)]
    pub fn token(&mut self, name: &'static str, token: &str) {
        self.plain(name, |out| out.extend_from_slice(token.as_bytes()));
    }

    /// A text that `append` writes: letters, digits and punctuation that need no escaping.
    #[inline(always)]
    pub fn plain(&mut self, name: &'static str, append: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.out.push(b'"');
        let begin = self.out.len();
        append(self.out);
        debug_assert!(
            self.out.get(begin..).is_some_and(|text| !must_escape(text)),
            "{name}: {}",
            self.out.get(begin..).unwrap_or_default().escape_ascii()
        );
        self.out.push(b'"');
    }

    /// A whole number.
    #[inline(always)]
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(value).as_bytes());
    }

    /// A number with three decimals, given in thousandths.
    #[inline(always)]
    pub fn thousandths(&mut self, name: &'static str, value: u64) {
        self.number(name, value / 1000);
        self.out.push(b'.');
        for unit in [100, 10, 1] {
            self.out.push(b'0' + (value / unit % 10) as u8);
        }
    }

    /// A list, left out where it is empty.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        items: impl IntoIterator<Item = T>,
        mut append: impl FnMut(&mut Vec<u8>, T),
    ) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return;
        }
        self.name(name);
        self.out.push(b'[');
        while let Some(item) = items.next() {
            append(self.out, item);
            if items.peek().is_some() {
                self.out.push(b',');
            }
        }
        self.out.push(b']');
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// A text with its quotation marks.
pub fn text(out: &mut Vec<u8>, value: &str) {
    if must_escape(value.as_bytes()) {
        // Writing a text to memory does not fail.
        let _ = serde_json::to_writer(out, value);
    } else {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }
}

/// All bytes are looked at, which the compiler does many at a time.
fn must_escape(text: &[u8]) -> bool {
    let must = |b: u8| (b < b' ') | (b == b'"') | (b == b'\\');
    text.iter().fold(false, |found, &b| found | must(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("plain", "a b/ü");
        object.text("escaped", "\"\\\n\u{1}");
        object.plain("by_hand", |out| out.extend_from_slice(b"3f"));
        object.number("zero", 0);
        object.number("most", u64::MAX);
        object.thousandths("ms", 12_034);
        object.thousandths("less", 7);
        object.list("none", Vec::<&str>::new(), text);
        object.list("two", ["a", "\""], text);
        object.end();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "plain": "a b/ü", "escaped": "\"\\\n\u{1}", "by_hand": "3f", "zero": 0, "most": u64::MAX,
                "ms": 12.034, "less": 0.007, "two": ["a", "\""],
            })
        );
    }
}
