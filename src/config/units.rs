//! Values with a unit: durations, sizes, rates, shares, statuses.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::{Schema, json_schema};

use super::values::{Raw, Value, quoted};
use crate::policy::limit::{Period, Quota};
use crate::policy::portion::Portion;

const ZERO: &str = "is zero, which does not mean \"unlimited\"";

/// A unit and how many of the smallest one it is.
type Unit = (&'static str, u64);

const TIMES: [Unit; 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [Unit; 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Digits, then a unit; no sign, no fraction, no space, so that there is one way to write a value.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// In the smallest of the units; what is wrong with it where it has none of them, is zero or over `most`.
fn read_in(units: [Unit; 4], text: &str, most: u64, [no, over]: [&str; 2]) -> Result<u64, String> {
    let read = number_and_unit(text).and_then(|(number, unit)| {
        let (_, each) = units.into_iter().find(|(name, _)| *name == unit)?;
        Some(number.saturating_mul(each))
    });
    match read {
        None => Err(format!("{} {no}", quoted(text))),
        Some(0) => Err(format!("{text:?} {ZERO}")),
        Some(number) if number > most => Err(format!("{} {over}", quoted(text))),
        Some(number) => Ok(number),
    }
}

/// A duration: `"5s"`, `"250ms"`, `"2m"`, `"1h"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub Duration);

impl Value for Span {
    type Means = Duration;

    fn allowed() -> String {
        "a duration in ms, s, m or h of at most 24h, such as \"5s\" or \"250ms\"".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<Duration, String> {
        let wrong = ["is no duration", "is too long"];
        read_in(TIMES, raw.text()?, 86_400_000, wrong).map(Duration::from_millis)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h)$" })
    }
}

/// In the file's spelling.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

/// A size: `"64KiB"`, `"1MiB"`, `"512B"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub usize);

impl Value for Size {
    type Means = usize;

    fn allowed() -> String {
        "a size in B, KiB, MiB or GiB of at most 1024GiB, such as \"64KiB\" or \"1MiB\"".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<usize, String> {
        let bytes = read_in(SIZES, raw.text()?, 1 << 40, ["is no size", "is too large"])?;
        usize::try_from(bytes).map_err(|_| format!("{raw} is too large"))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^0*[1-9][0-9]*(B|KiB|MiB|GiB)$" })
    }
}

/// In the file's spelling, in the largest unit that fits.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, each): &Unit| (self.0 as u64).is_multiple_of(*each);
        let (unit, each) = SIZES.into_iter().find(fits).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 as u64 / each)
    }
}

/// A rate: `"100/s"`, `"30/m"`, `"5/h"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Requests per period.
    pub rate: NonZeroU32,
    /// The period.
    pub period: Period,
}

impl Value for Rate {
    type Means = Rate;

    fn allowed() -> String {
        format!("1 to {} per s, m or h, such as \"100/s\"", Quota::MAX)
    }

    fn read(raw: Raw<'_>) -> Result<Rate, String> {
        let text = raw.text()?;
        let parts = number_and_unit(text).and_then(|(number, unit)| match unit {
            "/s" => Some((number, Period::Second)),
            "/m" => Some((number, Period::Minute)),
            "/h" => Some((number, Period::Hour)),
            _ => None,
        });
        let Some((number, period)) = parts else {
            return Err(format!("{} is no rate", quoted(text)));
        };
        match u32::try_from(number).map(NonZeroU32::new) {
            Ok(None) => Err(format!("{text:?} {ZERO}")),
            Ok(Some(rate)) if rate.get() <= Quota::MAX => Ok(Rate { rate, period }),
            _ => Err(format!("{} is too fast to be counted", quoted(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^0*[1-9][0-9]*/[smh]$" })
    }
}

/// A portion of members: `10` is a tenth of them.
#[derive(Debug)]
pub struct Percent;

impl Value for Percent {
    type Means = Portion;

    fn allowed() -> String {
        "a whole number of per cent from 1 to 100".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<Portion, String> {
        match raw {
            Raw::Integer(0) => Err("0 is nobody, which mode = \"observe\" says".to_owned()),
            Raw::Integer(number) => u8::try_from(number)
                .ok()
                .and_then(Portion::of)
                .ok_or_else(|| format!("{number} is out of bounds")),
            other => Err(format!("{other} is no whole number")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 100 })
    }
}

/// A status, or a range of them: `"200"`, `"200-399"`. It means the first and the last.
#[derive(Debug)]
pub struct StatusRange;

impl Value for StatusRange {
    type Means = (u16, u16);

    fn allowed() -> String {
        "a status from 200 to 599 or a range of them, such as \"200-399\"".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<(u16, u16), String> {
        let text = raw.text()?;
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let status = |digits: &str| {
            let is_number = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
            digits
                .parse::<u16>()
                .ok()
                .filter(|status| is_number && (200..=599).contains(status))
        };
        match (status(least), status(most)) {
            (Some(least), Some(most)) if least <= most => Ok((least, most)),
            _ => Err(format!("{} is no range of statuses", quoted(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[2-5][0-9]{2}(-[2-5][0-9]{2})?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: Value>(text: &str) -> String {
        T::read(Raw::Text(text)).err().unwrap_or_default()
    }

    #[test]
    fn sizes_and_spans_are_spelled_as_in_the_file() {
        assert_eq!(
            [262_144, 1 << 30, 3 << 20, 1000].map(|bytes| Size(bytes).to_string()),
            ["256KiB", "1GiB", "3MiB", "1000B"]
        );
        assert_eq!(
            [75_000, 250, 1500].map(|millis| Span(Duration::from_millis(millis)).to_string()),
            ["75s", "250ms", "1500ms"]
        );
    }

    #[test]
    fn durations_have_a_unit_and_are_not_zero() {
        for (text, millis) in [
            ("5s", 5000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(
                Span::read(Raw::Text(text)).unwrap(),
                Duration::from_millis(millis)
            );
        }
        for bad in [
            "5",
            "s",
            "",
            "5 s",
            "-5s",
            "1.5s",
            "5S",
            "+5s",
            "99999999999999999999s",
        ] {
            assert_eq!(wrong::<Span>(bad), format!("{bad:?} is no duration"));
        }
        assert_eq!(
            wrong::<Span>("0s"),
            "\"0s\" is zero, which does not mean \"unlimited\""
        );
        assert_eq!(wrong::<Span>("25h"), "\"25h\" is too long");
        assert_eq!(
            wrong::<Span>("18446744073709551615h"),
            "\"18446744073709551615h\" is too long"
        );
        assert_eq!(Span::read(Raw::Integer(5)), Err("5 is not in quotes".to_owned()));
    }

    #[test]
    fn sizes_have_a_binary_unit() {
        for (text, bytes) in [
            ("512B", 512),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(Size::read(Raw::Text(text)).unwrap(), bytes);
        }
        for bad in ["64KB", "64K", "64", "KiB", "1 MiB"] {
            assert_eq!(wrong::<Size>(bad), format!("{bad:?} is no size"));
        }
        assert_eq!(wrong::<Size>("1025GiB"), "\"1025GiB\" is too large");
        assert_eq!(
            wrong::<Size>("0KiB"),
            "\"0KiB\" is zero, which does not mean \"unlimited\""
        );
    }

    #[test]
    fn rates_have_a_period() {
        let rate = Rate::read(Raw::Text("30/m")).unwrap();
        assert_eq!((rate.rate.get(), rate.period), (30, Period::Minute));
        for bad in ["30", "30/d", "/s", "30 /s"] {
            assert_eq!(wrong::<Rate>(bad), format!("{bad:?} is no rate"));
        }
        assert_eq!(
            wrong::<Rate>("1000001/s"),
            "\"1000001/s\" is too fast to be counted"
        );
        assert_eq!(
            wrong::<Rate>("0/s"),
            "\"0/s\" is zero, which does not mean \"unlimited\""
        );
    }
}
