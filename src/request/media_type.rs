//! What a body says it is.

use http::{HeaderMap, header};

/// The two kinds of body that a widget route can read, or need not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaType {
    /// `application/x-www-form-urlencoded`: everyone reads it as a form.
    Form,
    /// `application/json`: PHP puts none of it where it puts forms.
    Json,
}

impl MediaType {
    /// The type as it is written for the upstream: without parameters, and spelled as PHP knows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            MediaType::Form => "application/x-www-form-urlencoded",
            MediaType::Json => "application/json",
        }
    }

    /// Reads exactly one `Content-Type` without a `Content-Encoding`. Its only parameter is a charset, UTF-8
    /// by name; an empty parameter is none.
    pub fn of(headers: &HeaderMap) -> Option<MediaType> {
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let (Some(only), None) = (types.next(), types.next()) else {
            return None;
        };
        if headers.contains_key(header::CONTENT_ENCODING) {
            return None;
        }
        // As every browser spells it.
        if only == MediaType::Form.as_str() {
            return Some(MediaType::Form);
        }
        let mut parts = only.as_bytes().split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        let media_type = [MediaType::Form, MediaType::Json]
            .into_iter()
            .find(|media_type| name.eq_ignore_ascii_case(media_type.as_str().as_bytes()))?;
        parts
            .all(|part| part.is_empty() || is_utf8(part))
            .then_some(media_type)
    }
}

fn is_utf8(parameter: &[u8]) -> bool {
    let mut halves = parameter.splitn(2, |&b| b == b'=');
    let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
        return false;
    };
    let quoted = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    let value = quoted.unwrap_or(value);
    name.eq_ignore_ascii_case(b"charset")
        && (value.eq_ignore_ascii_case(b"utf-8") || value.eq_ignore_ascii_case(b"utf8"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(types: &[&str]) -> Option<MediaType> {
        let mut headers = HeaderMap::new();
        for given in types {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_str(given).unwrap());
        }
        MediaType::of(&headers)
    }

    #[test]
    fn a_form_may_say_that_it_is_utf8_and_nothing_else() {
        for given in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-URLencoded",
            "application/x-www-form-urlencoded;",
            "application/x-www-form-urlencoded ; ",
            "application/x-www-form-urlencoded; charset=utf-8",
            "application/x-www-form-urlencoded;charset=UTF8",
            "application/x-www-form-urlencoded; ; Charset=\"Utf-8\";",
        ] {
            assert_eq!(of(&[given]), Some(MediaType::Form), "{given}");
        }
        assert_eq!(of(&["application/json;charset=utf8"]), Some(MediaType::Json));
        for given in [
            "",
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded, text/plain",
            "application/x-www-form-urlencoded; boundary=x",
            "application/x-www-form-urlencoded; charset=latin1",
            "application/x-www-form-urlencoded; charset",
            "application/x-www-form-urlencoded; charset=\"utf-8",
            "application/x-www-form-urlencoded charset=utf-8",
            "application/json5",
        ] {
            assert_eq!(of(&[given]), None, "{given}");
        }
        let form = "application/x-www-form-urlencoded";
        assert_eq!((of(&[]), of(&[form, form])), (None, None));
    }
}
