//! The last two minutes, for the status page: whoever opens it during an incident sees how it began.
//! Every other metric is for a store outside; this ring is small and always there.

use std::collections::VecDeque;
use std::time::Duration;

use prometheus::Histogram;
use prometheus::core::Metric as _;

use super::metrics::RouteSeries;
use super::outcome::Outcome;
use crate::policy::Mode;
use crate::response::rejection::Reason;

/// How far samples are apart.
pub const STEP: Duration = Duration::from_secs(2);
/// Steps that are remembered.
pub const STEPS: usize = 60;

/// What has been counted so far, over all routes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// By outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// By reason and mode, in the order of [`Reason::ALL`] and [`Mode::ALL`].
    pub refusals: [[u64; Mode::ALL.len()]; Reason::ALL.len()],
    /// From the head to the end.
    pub durations: Buckets,
    /// The gateway's own time.
    pub overhead: Buckets,
}

impl Totals {
    /// The sum over routes, each of them once.
    pub fn of<'a>(routes: impl IntoIterator<Item = &'a RouteSeries>) -> Totals {
        let mut sum = Totals::default();
        for route in routes {
            for (total, outcome) in sum.outcomes.iter_mut().zip(Outcome::ALL) {
                *total += route.requests(outcome).get();
                sum.durations.add(route.duration(outcome));
            }
            for (total, reason) in sum.refusals.iter_mut().zip(Reason::ALL) {
                for (total, mode) in total.iter_mut().zip(Mode::ALL) {
                    *total += route.rejections(reason, mode).get();
                }
            }
            sum.overhead.add(&route.overhead);
        }
        sum
    }
}

/// The counts of a histogram: upper bound and how many were at most that.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Buckets(Vec<(f64, u64)>);

impl Buckets {
    /// Adds a histogram of the same bounds.
    fn add(&mut self, histogram: &Histogram) {
        let metric = histogram.metric();
        let histogram = metric.get_histogram();
        let counts = histogram
            .get_bucket()
            .iter()
            .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
            .chain([(f64::INFINITY, histogram.get_sample_count())]);
        if self.0.is_empty() {
            self.0.extend(counts);
        } else {
            for ((_, mine), (_, more)) in self.0.iter_mut().zip(counts) {
                *mine += more;
            }
        }
    }

    /// Those that came since `before`.
    fn since(&self, before: &Buckets) -> Buckets {
        let before = before
            .0
            .iter()
            .map(|(_, count)| *count)
            .chain(std::iter::repeat(0));
        let since = self
            .0
            .iter()
            .zip(before)
            .map(|((bound, count), before)| (*bound, count.saturating_sub(before)));
        Buckets(since.collect())
    }

    /// As Prometheus' `histogram_quantile` has it: even within a bucket, and the last bound for what is
    /// above it. None of nothing.
    fn quantile(&self, share: f64) -> Option<f64> {
        let (_, all) = self.0.last().filter(|(_, all)| *all > 0)?;
        let rank = share * *all as f64;
        let (mut low, mut below) = (0.0, 0);
        for (bound, count) in &self.0 {
            if *count as f64 >= rank && *count > below {
                if bound.is_infinite() {
                    return Some(low);
                }
                let within = (rank - below as f64) / (count - below) as f64;
                return Some(low + (bound - low) * within);
            }
            (low, below) = (*bound, *count);
        }
        Some(low)
    }
}

/// The ring. Time is told, counted from the start of the process.
#[derive(Default)]
pub struct Recent(VecDeque<(Duration, Totals)>);

/// What the ring says.
#[derive(Clone, PartialEq, Debug)]
pub struct Trend {
    /// Requests per second of each step by outcome, the latest last.
    pub rates: Vec<[f64; Outcome::ALL.len()]>,
    /// The span between the first sample and the last.
    pub covers: Duration,
    /// In that span, by reason and mode.
    pub refusals: [[u64; Mode::ALL.len()]; Reason::ALL.len()],
    /// Median and 95th percentile of whole requests in it, in seconds.
    pub durations: Option<[f64; 2]>,
    /// The same of the gateway's own time.
    pub overhead: Option<[f64; 2]>,
}

impl Recent {
    /// Remembers what has been counted by `now`.
    pub fn sample(&mut self, totals: Totals, now: Duration) {
        if self.0.len() > STEPS {
            self.0.pop_front();
        }
        self.0.push_back((now, totals));
    }

    /// The last minutes. A counter that went back (its route was removed) counts as standing still.
    pub fn trend(&self) -> Option<Trend> {
        let ((start, first), (end, last)) = (self.0.front()?, self.0.back()?);
        let steps = self.0.iter().zip(self.0.iter().skip(1));
        let mut refusals = last.refusals;
        for (now, before) in refusals.iter_mut().flatten().zip(first.refusals.iter().flatten()) {
            *now = now.saturating_sub(*before);
        }
        let quantiles = |last: &Buckets, first: &Buckets| {
            let since = last.since(first);
            Some([since.quantile(0.5)?, since.quantile(0.95)?])
        };
        Some(Trend {
            rates: steps.map(|(before, after)| rates(before, after)).collect(),
            covers: end.saturating_sub(*start),
            refusals,
            durations: quantiles(&last.durations, &first.durations),
            overhead: quantiles(&last.overhead, &first.overhead),
        })
    }
}

fn rates(before: &(Duration, Totals), after: &(Duration, Totals)) -> [f64; Outcome::ALL.len()] {
    let seconds = after.0.saturating_sub(before.0).as_secs_f64().max(0.001);
    let mut rates = [0.0; Outcome::ALL.len()];
    let pairs = after.1.outcomes.iter().zip(before.1.outcomes);
    for (rate, (after, before)) in rates.iter_mut().zip(pairs) {
        *rate = after.saturating_sub(before) as f64 / seconds;
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn rates_refusals_and_quantiles_are_of_the_span() {
        let metrics = Metrics::new("0", "0", "0").unwrap();
        let route = metrics.route("widget");
        let mut recent = Recent::default();
        let mut sample = |seconds| {
            recent.sample(Totals::of([&*route]), Duration::from_secs(seconds));
            recent.trend().unwrap()
        };
        route.requests(Outcome::Forwarded).inc_by(1000);
        route.duration(Outcome::Forwarded).observe(9.0);
        assert_eq!(sample(0).rates, Vec::<[f64; 6]>::new());
        route.requests(Outcome::Forwarded).inc_by(10);
        route.requests(Outcome::Limited).inc_by(4);
        route.rejections(Reason::RateLimited, Mode::Enforce).inc_by(4);
        for _ in 0..100 {
            route.duration(Outcome::Forwarded).observe(0.002);
        }
        let trend = sample(2);
        assert_eq!(trend.rates, [[5.0, 0.0, 0.0, 2.0, 0.0, 0.0]]);
        assert_eq!(trend.refusals[Reason::RateLimited as usize], [4, 0]);
        let [median, most] = trend.durations.unwrap();
        assert!(
            (0.001..0.0025).contains(&median) && (median..=0.0025).contains(&most),
            "{median} {most}"
        );
        assert_eq!(trend.overhead, None);
    }

    #[test]
    fn the_ring_is_bounded_and_a_counter_that_went_back_stands_still() {
        let metrics = Metrics::new("0", "0", "0").unwrap();
        let (kept, removed) = (metrics.route("kept"), metrics.route("removed"));
        removed.requests(Outcome::Forwarded).inc_by(50);
        let mut recent = Recent::default();
        recent.sample(Totals::of([&*kept, &*removed]), Duration::ZERO);
        for step in 1..=100 {
            recent.sample(Totals::of([&*kept]), STEP * step);
        }
        let trend = recent.trend().unwrap();
        assert_eq!((trend.rates.len(), trend.covers), (STEPS, STEP * STEPS as u32));
        assert!(trend.rates.iter().flatten().all(|rate| *rate == 0.0));
    }
}
