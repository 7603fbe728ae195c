//! The one reader of query and body. It finds the value that PHP will have for each known name, or
//! says why there could be two opinions about it.
//!
//! Almost every part of a genuine call is *tame*: names of letters, digits, `-` and `_`, escapes that
//! are complete and ASCII. There serde_urlencoded's reading equals PHP's, and it does the reading.
//! Any other part, and one that repeats a known name, is read byte by byte the way PHP's
//! `php_register_variable_ex` and `php_url_decode` do (PHP 7.4 to 8.5 measured, identical); whatever
//! PHP would turn into a known name without it being spelled so becomes a fault.

use std::borrow::Cow;

use serde::Deserialize;

use crate::request::field::{FaultCode, Field, FieldFault};

/// PHP's default `max_input_nesting_level`: one bracket more, and the variable is deleted.
const MAX_NESTING: usize = 64;

/// The form itself can not be read safely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormFault {
    /// More parameters in the query or in the body than `max_params`; PHP drops the rest silently.
    TooManyParams,
}

/// What query and body say about the known names: one value per name, or a fault instead of it.
#[derive(Default)]
pub struct Form<'a> {
    readings: [Reading<'a>; Field::COUNT],
}

/// The state of one name.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Reading<'a> {
    /// In neither part.
    #[default]
    Absent,
    /// One value, whoever reads it.
    Value(Cow<'a, [u8]>),
    /// Two opinions are possible, or readers differ in what the bytes mean.
    Faulty(FaultCode),
}

impl<'a> Form<'a> {
    /// Reads the raw query (without `?`) and the raw body.
    ///
    /// # Errors
    /// Where one part has more than `max_params` parameters: empty ones count in the body only, as
    /// PHP counts them.
    pub fn parse(query: &'a [u8], body: &'a [u8], max_params: usize) -> Result<Form<'a>, FormFault> {
        let query = Part::read(query, Origin::Query, max_params)?;
        let body = Part::read(body, Origin::Body, max_params)?;
        let mut form = Form::default();
        for ((reading, in_query), in_body) in form.readings.iter_mut().zip(query.readings).zip(body.readings)
        {
            *reading = match (in_query, in_body) {
                (Reading::Faulty(code), _) | (_, Reading::Faulty(code)) => Reading::Faulty(code),
                (Reading::Absent, other) | (other, Reading::Absent) => other,
                (Reading::Value(a), Reading::Value(b)) if a == b => Reading::Value(b),
                (Reading::Value(_), Reading::Value(_)) => Reading::Faulty(FaultCode::Conflict),
            };
        }
        Ok(form)
    }

    /// What was found for the name.
    pub fn reading(&self, field: Field) -> &Reading<'a> {
        // The array has one slot per field; a default can not be reached.
        self.readings.get(field.index()).unwrap_or(&Reading::Absent)
    }

    /// The decoded value, if there is exactly one opinion about it.
    pub fn value(&self, field: Field) -> Option<&[u8]> {
        match self.reading(field) {
            Reading::Value(value) => Some(value),
            Reading::Absent | Reading::Faulty(_) => None,
        }
    }

    /// Every name that is not readable in exactly one way, in the order of the contract.
    pub fn faults(&self) -> impl Iterator<Item = FieldFault> + '_ {
        Field::ALL
            .into_iter()
            .filter_map(|field| match self.reading(field) {
                Reading::Faulty(code) => Some(FieldFault { field, code: *code }),
                Reading::Absent | Reading::Value(_) => None,
            })
    }
}

/// Values may be tokens: only names and states are ever printed.
impl std::fmt::Debug for Form<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(Field::ALL.into_iter().map(|field| {
                let state = match self.reading(field) {
                    Reading::Absent => "absent",
                    Reading::Value(_) => "value",
                    Reading::Faulty(code) => code.label(),
                };
                (field.name(), state)
            }))
            .finish()
    }
}

/// PHP treats the two parts a little differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Query,
    Body,
}

#[derive(Default)]
struct Part<'a> {
    readings: [Reading<'a>; Field::COUNT],
}

impl<'a> Part<'a> {
    fn read(bytes: &'a [u8], origin: Origin, max_params: usize) -> Result<Part<'a>, FormFault> {
        if bytes.is_empty() {
            return Ok(Part::default());
        }
        let seen = scan(bytes);
        let params = match origin {
            Origin::Query => seen.params,
            Origin::Body => seen.pieces,
        };
        if params > max_params {
            return Err(FormFault::TooManyParams);
        }
        match seen.tame.then(|| serde_urlencoded::from_bytes::<Tame<'a>>(bytes)) {
            Some(Ok(tame)) => Ok(tame.into()),
            // A known name stands twice: the byte reader compares the values.
            Some(Err(_)) | None => Ok(Part::read_bytes(bytes, origin)),
        }
    }

    fn read_bytes(bytes: &'a [u8], origin: Origin) -> Part<'a> {
        let mut part = Part::default();
        for piece in bytes.split(|&b| b == b'&').filter(|piece| !piece.is_empty()) {
            // With `arg_separator.input = "&;"`, PHP splits the query here too; Rack before 3 does.
            if origin == Origin::Query && memchr::memchr(b';', piece).is_some() {
                for pair in piece.split(|&b| b == b';') {
                    if let Some((field, _)) = known(&decoded(split_pair(pair).0)) {
                        part.mark(field, FaultCode::Mangled);
                    }
                }
            }
            let (name, value) = split_pair(piece);
            match known(&decoded(name)) {
                None => {}
                Some((field, Spelling::Exact)) => {
                    let text = decoded(value);
                    // The options may be any bytes: their state is told, and they become no header.
                    if field == Field::PlacementOptions || reads_alike(value, &text) {
                        part.add(field, text);
                    } else {
                        part.mark(field, FaultCode::Invalid);
                    }
                }
                Some((field, Spelling::Mangled)) => part.mark(field, FaultCode::Mangled),
                Some((field, Spelling::Array)) => part.mark(field, FaultCode::Array),
                Some((field, Spelling::Truncated)) => part.mark(field, FaultCode::Truncated),
            }
        }
        part
    }

    fn slot(&mut self, field: Field) -> Option<&mut Reading<'a>> {
        self.readings.get_mut(field.index())
    }

    fn add(&mut self, field: Field, value: Cow<'a, [u8]>) {
        if let Some(slot) = self.slot(field) {
            match slot {
                Reading::Absent => *slot = Reading::Value(value),
                Reading::Value(first) if *first == value => {}
                Reading::Value(_) => *slot = Reading::Faulty(FaultCode::Duplicate),
                Reading::Faulty(_) => {}
            }
        }
    }

    fn mark(&mut self, field: Field, code: FaultCode) {
        if let Some(slot) = self.slot(field)
            && !matches!(slot, Reading::Faulty(_))
        {
            *slot = Reading::Faulty(code);
        }
    }
}

/// What one look at the raw bytes tells.
struct Scan {
    /// serde_urlencoded reads it as PHP does.
    tame: bool,
    /// Parameters between `&`, empty ones included.
    pieces: usize,
    /// Parameters that are not empty.
    params: usize,
}

fn scan(bytes: &[u8]) -> Scan {
    let mut tame = true;
    let mut pieces = 1;
    let mut params = 0;
    let mut in_name = true;
    let mut piece_is_empty = true;
    let mut rest = bytes.iter();
    while let Some(&b) = rest.next() {
        match b {
            b'&' => {
                pieces += 1;
                in_name = true;
                piece_is_empty = true;
                continue;
            }
            // A second `=` could follow a bracket, where Express' reader would split instead.
            b'=' => {
                tame &= in_name;
                in_name = false;
            }
            b'%' => {
                // A complete escape of an ASCII byte reads the same everywhere.
                let ascii = matches!(rest.as_slice(), [b'0'..=b'7', low, ..] if low.is_ascii_hexdigit());
                tame &= ascii && !in_name;
            }
            _ if in_name => tame &= b.is_ascii_alphanumeric() || b == b'_' || b == b'-',
            // In a value, `;` may be a separator and bytes beyond ASCII may be repaired.
            _ => tame &= (b' '..=b'~').contains(&b) && b != b';',
        }
        if piece_is_empty {
            piece_is_empty = false;
            params += 1;
        }
    }
    Scan { tame, pieces, params }
}

/// The known names of a tame part as serde_urlencoded finds them. A repeated name is an error.
#[derive(Deserialize)]
#[allow(non_snake_case)]
struct Tame<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    DOMAIN: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    PROTOCOL: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    LANG: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    APP_SID: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    AUTH_ID: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    AUTH_EXPIRES: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    REFRESH_ID: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    SERVER_ENDPOINT: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    APPLICATION_TOKEN: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    APPLICATION_SCOPE: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    member_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    PLACEMENT: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    PLACEMENT_OPTIONS: Option<Cow<'a, str>>,
}

/// Borrows where nothing had to be decoded (serde's own `Option<Cow>` always copies).
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    struct Text;
    impl<'de> serde::de::Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a form value")
        }

        fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(value))
        }

        fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(value.to_owned()))
        }

        fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
            Ok(Cow::Owned(value))
        }
    }
    from.deserialize_str(Text).map(Some)
}

impl<'a> From<Tame<'a>> for Part<'a> {
    fn from(tame: Tame<'a>) -> Part<'a> {
        let values = [
            tame.DOMAIN,
            tame.PROTOCOL,
            tame.LANG,
            tame.APP_SID,
            tame.AUTH_ID,
            tame.AUTH_EXPIRES,
            tame.REFRESH_ID,
            tame.SERVER_ENDPOINT,
            tame.APPLICATION_TOKEN,
            tame.APPLICATION_SCOPE,
            tame.member_id,
            tame.status,
            tame.PLACEMENT,
            tame.PLACEMENT_OPTIONS,
        ];
        Part {
            readings: values.map(|value| match value {
                None => Reading::Absent,
                Some(Cow::Borrowed(value)) => Reading::Value(Cow::Borrowed(value.as_bytes())),
                Some(Cow::Owned(value)) => Reading::Value(Cow::Owned(value.into_bytes())),
            }),
        }
    }
}

fn split_pair(piece: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', piece) {
        Some(at) => {
            let (name, value) = piece.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        }
        None => (piece, &[]),
    }
}

/// `php_url_decode`: `+` is a space, `%` with two hex digits a byte, anything else itself; once.
pub fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        out.push(match b {
            b'+' => b' ',
            b'%' => match escape(after) {
                Some(byte) => {
                    rest = after.get(2..).unwrap_or_default();
                    byte
                }
                None => b,
            },
            _ => b,
        });
    }
    Cow::Owned(out)
}

/// The byte that the two hex digits after a `%` stand for.
pub fn escape(after_percent: &[u8]) -> Option<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match after_percent {
        [high, low, ..] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

/// Whether PHP, Python, Node, Go and Rack all take the same text from the raw value (measured): every
/// escape is complete, the bytes are UTF-8, and no `]=` is in it, at which Express' reader (qs) would
/// end the name.
fn reads_alike(raw: &[u8], value: &[u8]) -> bool {
    let whole =
        memchr::memchr_iter(b'%', raw).all(|at| escape(raw.get(at + 1..).unwrap_or_default()).is_some());
    let splits_elsewhere = memchr::memchr_iter(b'=', raw).any(|at| {
        raw.get(..at)
            .is_some_and(|before| decoded(before).ends_with(b"]"))
    });
    whole && !splits_elsewhere && std::str::from_utf8(value).is_ok()
}

/// How a decoded name comes to mean a known field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    /// Equal after one decoding.
    Exact,
    /// Leading blanks, `.`, space or an unclosed `[` that PHP turns into `_`; brackets around the name,
    /// which Rack 2 and Express' reader (qs) take away.
    Mangled,
    /// `name[...]`.
    Array,
    /// Cut at a NUL, or nested so deep that PHP deletes the variable.
    Truncated,
}

/// The known field that a reader behind finds under this decoded name, and how it comes to that.
pub fn known(name: &[u8]) -> Option<(Field, Spelling)> {
    match Field::named(name) {
        Some(field) => Some((field, Spelling::Exact)),
        None => registered(name).or_else(|| unbracketed(name)),
    }
}

/// Rack 2 takes the text between leading brackets and the next one for the name, qs that of `[name]`.
fn unbracketed(name: &[u8]) -> Option<(Field, Spelling)> {
    let is_bracket = |b: &u8| matches!(b, b'[' | b']');
    let text = name.split(is_bracket).find(|text| !text.is_empty())?;
    Field::named(text).map(|field| (field, Spelling::Mangled))
}

/// The known field that PHP registers under a name that is not spelled so.
///
/// Follows `php_register_variable_ex`: the name is a C string; leading spaces go; space and `.`
/// before the first `[` become `_`; `[` opens an index if a `]` follows, else it becomes `_` and, in
/// PHP 8, so does every space, `.` and `[` behind it.
fn registered(name: &[u8]) -> Option<(Field, Spelling)> {
    let (head, cut) = match memchr::memchr(0, name) {
        Some(at) => (name.get(..at).unwrap_or_default(), true),
        None => (name, false),
    };
    let head = head.trim_ascii_start_matches(b' ');
    let (base, brackets) = match memchr::memchr(b'[', head) {
        Some(at) => head.split_at(at),
        None => (head, &[][..]),
    };
    let spelling = if brackets.is_empty() {
        Spelling::Mangled
    } else {
        match nesting(brackets) {
            0 => {
                let whole = mangled(head)?;
                return Some((
                    Field::named(&whole)?,
                    if cut {
                        Spelling::Truncated
                    } else {
                        Spelling::Mangled
                    },
                ));
            }
            deep if deep > MAX_NESTING => Spelling::Truncated,
            _ => Spelling::Array,
        }
    };
    let field = Field::named(&mangled(base)?)?;
    Some((field, if cut { Spelling::Truncated } else { spelling }))
}

/// How many closed indexes stand at the start; the text begins with `[`.
fn nesting(mut brackets: &[u8]) -> usize {
    let mut depth = 0;
    while let Some((b'[', inside)) = brackets.split_first() {
        match memchr::memchr(b']', inside) {
            Some(close) => {
                depth += 1;
                brackets = inside.get(close + 1..).unwrap_or_default();
            }
            // PHP checks the depth when it meets the bracket, before it looks for the closing one.
            None => return if depth == 0 { 0 } else { depth + 1 },
        }
    }
    depth
}

/// Space, `.` and `[` become `_`. `None` where the length alone rules out a known name, so that a
/// long foreign name is not copied.
fn mangled(name: &[u8]) -> Option<Vec<u8>> {
    const LONGEST: usize = 17;
    if name.len() > LONGEST {
        return None;
    }
    Some(
        name.iter()
            .map(|&b| if matches!(b, b' ' | b'.' | b'[') { b'_' } else { b })
            .collect(),
    )
}

/// `trim_start_matches` for bytes.
trait TrimStart {
    fn trim_ascii_start_matches(&self, byte: u8) -> &[u8];
}

impl TrimStart for [u8] {
    fn trim_ascii_start_matches(&self, byte: u8) -> &[u8] {
        let blanks = self.iter().take_while(|&&b| b == byte).count();
        self.get(blanks..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(query: &'a str, body: &'a str) -> Form<'a> {
        Form::parse(query.as_bytes(), body.as_bytes(), 1000).unwrap()
    }

    fn faults(query: &str, body: &str) -> Vec<(Field, FaultCode)> {
        parse(query, body)
            .faults()
            .map(|fault| (fault.field, fault.code))
            .collect()
    }

    #[test]
    fn a_genuine_call_reads_from_both_parts() {
        let form = parse(
            "DOMAIN=p.bitrix24.com&PROTOCOL=1",
            "member_id=ab&PLACEMENT_OPTIONS=%7B%22a%22%3A1%7D&x[]=1",
        );
        assert_eq!(form.value(Field::Domain), Some(&b"p.bitrix24.com"[..]));
        assert_eq!(form.value(Field::PlacementOptions), Some(&b"{\"a\":1}"[..]));
        assert_eq!(form.value(Field::Lang), None);
        assert_eq!(form.faults().count(), 0);
    }

    #[test]
    fn every_way_to_a_second_opinion_has_its_code() {
        use FaultCode::*;
        for (query, body, code) in [
            ("member_id=a&member_id=b", "", Duplicate),
            ("", "member_id=a&%6dember_id=b", Duplicate),
            ("member_id=a", "member_id=b", Conflict),
            ("", "member.id=b", Mangled),
            ("", "member+id=b", Mangled),
            ("", "member%20id=b", Mangled),
            ("", "member[id=b", Mangled),
            ("", "+member_id=b", Mangled),
            ("", "%20%20member_id", Mangled),
            ("", "member_id[]=b", Array),
            ("", "member_id%5B%5D=b", Array),
            ("", "member.id[a][b=c", Array),
            ("", "member_id[a]junk=c", Array),
            ("", "member_id%00junk=b", Truncated),
            ("", "member.id%00[]=b", Truncated),
            ("x=1;member_id=2", "", Mangled),
            ("member_id=a;x=2", "", Mangled),
            ("", "[member_id]=a", Mangled),
            ("", "%5Bmember_id%5D=a", Mangled),
            ("", "member_id%5D=a", Mangled),
            ("", "[]]member_id]x=a", Mangled),
            ("", "member_id=a]=b", Invalid),
            ("", "member_id=a%5d=b", Invalid),
        ] {
            assert_eq!(faults(query, body), [(Field::MemberId, code)], "{query} | {body}");
        }
        let deep = format!("member_id=a&member_id{}=b", "[a]".repeat(65));
        assert_eq!(faults("", &deep), [(Field::MemberId, Truncated)]);
    }

    #[test]
    fn what_php_reads_as_another_name_is_no_fault() {
        for body in [
            "MEMBER_ID=a",
            "member-id=a",
            "member_id_=a",
            "member_id.=a",
            "member_id%20=a",
            "%09member_id=a",
            "[xmember_id]=a",
            "%00member_id=a",
            "=member_id",
            "auth[member_id]=a",
            "xmember_id=a",
            "member_id%0a=b",
            "member_id_%5D=a",
        ] {
            assert_eq!(faults("", body), [], "{body}");
            assert_eq!(parse("", body).value(Field::MemberId), None, "{body}");
        }
        assert_eq!(
            faults("", "x=1;member_id=2"),
            [],
            "PHP never splits a body at a semicolon"
        );
    }

    #[test]
    fn an_equal_repeat_is_one_opinion() {
        let form = parse("member_id=a+b&member_id=a%20b", "%6Dember_id=a+b");
        assert_eq!(form.value(Field::MemberId), Some(&b"a b"[..]));
    }

    #[test]
    fn broken_utf8_stays_different() {
        let options = Field::PlacementOptions;
        assert_eq!(
            faults("", "PLACEMENT_OPTIONS=%ff&PLACEMENT_OPTIONS=%fe"),
            [(options, FaultCode::Duplicate)]
        );
        assert_eq!(
            parse("", "PLACEMENT_OPTIONS=%ff%zz%4").value(options),
            Some(&b"\xff%zz%4"[..])
        );
    }

    #[test]
    fn a_value_that_readers_decode_differently_is_invalid() {
        for value in ["%ff", "%zz", "a%4", "%"] {
            assert_eq!(
                faults("", &format!("AUTH_ID={value}")),
                [(Field::AuthId, FaultCode::Invalid)],
                "{value}"
            );
        }
        assert_eq!(
            parse("", "AUTH_ID=%25%d0%b6").value(Field::AuthId),
            Some("%ж".as_bytes())
        );
    }

    #[test]
    fn parameters_are_counted_as_php_counts_them() {
        assert!(Form::parse(b"&&&a=1&&", b"", 1).is_ok());
        assert_eq!(Form::parse(b"a&b", b"", 1).unwrap_err(), FormFault::TooManyParams);
        assert_eq!(Form::parse(b"", b"a&", 1).unwrap_err(), FormFault::TooManyParams);
    }

    proptest! {
        /// Where the scan calls a part tame, serde_urlencoded and the byte reader agree.
        #[test]
        fn both_readers_agree_on_tame_parts(
            part in "((DOMAIN|member_id|status|x|PLACEMENT_OPTIONS|a-b)(=([a-z%2-7A-F+ .\"{}:=]|%2[0-9a-f]){0,8})?&?){0,6}"
        ) {
            let bytes = part.as_bytes();
            if scan(bytes).tame && let Ok(tame) = serde_urlencoded::from_bytes::<Tame<'_>>(bytes) {
                let quick: Part<'_> = tame.into();
                let slow = Part::read_bytes(bytes, Origin::Query);
                prop_assert!(quick.readings == slow.readings);
            }
        }

        /// Any bytes: no panic, and a value only where there is exactly one opinion in each part.
        #[test]
        fn any_bytes_are_read(query in prop::collection::vec(any::<u8>(), 0..200), body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(form) = Form::parse(&query, &body, 1000) {
                for field in Field::ALL {
                    let _ = form.value(field);
                }
            }
        }
    }
}
