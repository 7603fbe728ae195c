//! The shipped rules with shorter times: every expression stays as it is, only how far it looks back and how long it
//! waits is written anew.

/// What becomes of a rule's times.
#[derive(Clone, Copy)]
pub struct Scale {
    /// A minute, in milliseconds. Minutes keep their proportions.
    pub minute: u64,
    /// From an hour on only the order stays, or nobody would wait for the end: milliseconds over an hour, and what
    /// each longer time is more than the one before it.
    pub hour: u64,
    pub step: u64,
}

/// Times of an hour and more that the rules have, in their order.
const LONG: [&str; 6] = ["1h", "2h", "6h", "1d", "3d", "1w"];

impl Scale {
    fn of(self, time: &str) -> String {
        let long = LONG.iter().position(|long| *long == time);
        let millis = match (long, time.strip_suffix('m')) {
            (Some(at), _) => self.hour + self.step * at as u64,
            (None, Some(minutes)) => self.minute * minutes.parse::<u64>().expect("minutes"),
            (None, None) => panic!("a time that the test does not know: {time}"),
        };
        format!("{millis}ms")
    }

    /// The rules, each time of which is shortened: `[5m]`, `offset 1h`, `for: 2m`.
    pub fn rules(self) -> String {
        let shipped = std::fs::read_to_string("conf/prometheus/alerts.yml").unwrap();
        let mut scaled = String::with_capacity(shipped.len());
        let mut count = 0;
        for line in shipped.lines() {
            let mut rest = line;
            if !line.trim_start().starts_with('#') {
                while let Some(at) = next_time(rest) {
                    let (before, from) = rest.split_at(at);
                    let end = from
                        .find(|c: char| !c.is_ascii_alphanumeric())
                        .unwrap_or(from.len());
                    scaled += before;
                    scaled += &self.of(&from[..end]);
                    rest = &from[end..];
                    count += 1;
                }
            }
            scaled += rest;
            scaled.push('\n');
        }
        assert!(count > 60, "only {count} times were found");
        scaled
    }
}

/// Where the first time of the line begins.
fn next_time(line: &str) -> Option<usize> {
    ["[", "offset ", "for: "]
        .into_iter()
        .flat_map(|mark| line.match_indices(mark))
        .map(|(at, mark)| at + mark.len())
        .filter(|&at| line[at..].starts_with(|c: char| c.is_ascii_digit()))
        .min()
}

#[test]
fn times_are_shortened_and_nothing_else() {
    let scale = Scale {
        minute: 1000,
        hour: 40_000,
        step: 4000,
    };
    let scaled = scale.rules();
    let shipped = std::fs::read_to_string("conf/prometheus/alerts.yml").unwrap();
    for (was, is) in [
        ("[5m]", "[5000ms]"),
        ("[1d] offset 1h", "[52000ms] offset 40000ms"),
        ("for: 15m", "for: 15000ms"),
    ] {
        assert_eq!(shipped.matches(was).count(), scaled.matches(is).count(), "{was}");
        assert!(scaled.contains(is), "{is}");
    }
    assert!(!scaled.contains("[5m]") && !scaled.contains("for: 1h"));
    // What is left without its times is the same text.
    let without_digits = |text: &str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        code.filter(|line| !line.contains('[') && !line.contains("for: ") && !line.contains("offset "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(without_digits(&shipped), without_digits(&scaled));
}
