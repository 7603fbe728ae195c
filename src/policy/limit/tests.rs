use super::*;
use crate::request::field::MemberIdShape;

fn quota(rate: u32, period: Period, burst: u32) -> Quota {
    Quota {
        rate: NonZeroU32::new(rate).unwrap(),
        period,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn member(n: u64) -> MemberId {
    MemberId::parse(format!("{n:032x}").as_bytes(), MemberIdShape::Hex32).unwrap()
}

fn limiter(max_keys: usize, quota: Quota) -> (Limiter, Arc<KeyTable>) {
    let table = Arc::new(KeyTable::new(max_keys));
    (
        Limiter::new(quota, table.clone(), Duration::from_secs(1000)),
        table,
    )
}

const T0: Duration = Duration::from_secs(1000);

#[test]
fn the_burst_goes_at_once_and_the_wait_is_rounded_up() {
    let (limiter, _) = limiter(10, quota(2, Period::Minute, 3));
    for _ in 0..3 {
        assert_eq!(limiter.check(&member(1), T0), Ok(()));
    }
    assert_eq!(limiter.check(&member(1), T0).unwrap_err().retry_after, 30);
    assert_eq!(
        limiter
            .check(&member(1), T0 + Duration::from_millis(29_001))
            .unwrap_err()
            .retry_after,
        1
    );
    assert_eq!(limiter.check(&member(1), T0 + Duration::from_secs(30)), Ok(()));
    assert_eq!(limiter.check(&member(2), T0 + Duration::from_secs(30)), Ok(()));
}

#[test]
fn a_full_table_shares_one_bucket_and_keeps_who_is_over() {
    let (limiter, table) = limiter(2, quota(1, Period::Hour, 2));
    for n in 1..=2 {
        assert!(limiter.check(&member(n), T0).is_ok());
        assert!(limiter.check(&member(n), T0).is_ok());
        assert!(limiter.check(&member(n), T0).is_err());
    }
    assert!(limiter.check(&member(3), T0).is_ok());
    assert!(limiter.check(&member(4), T0).is_ok());
    assert!(
        limiter.check(&member(5), T0).is_err(),
        "the overflow bucket has one member's quota"
    );
    assert_eq!(table.overflowed(), 3);
    assert!(limiter.check(&member(1), T0).is_err());
    assert_eq!(table.len(), 2);
}

#[test]
fn only_keys_that_equal_fresh_ones_are_swept() {
    let (limiter, table) = limiter(10, quota(1, Period::Second, 5));
    limiter.check(&member(1), T0).unwrap();
    (0..5).for_each(|_| limiter.check(&member(2), T0).unwrap());
    assert_eq!(limiter.sweep(T0 + Duration::from_millis(999)), 0);
    assert_eq!(limiter.sweep(T0 + Duration::from_secs(1)), 1);
    assert_eq!((table.len(), table.evicted()), (1, 1));
    assert_eq!(
        limiter
            .peek(&member(2), T0 + Duration::from_secs(1))
            .unwrap()
            .remaining,
        1
    );
    assert_eq!(limiter.sweep(T0 + Duration::from_secs(5)), 1);
    assert_eq!(table.len(), 0);
    limiter.check(&member(3), T0 + Duration::from_secs(5)).unwrap();
    assert_eq!(table.len(), 1);
    drop(limiter);
    assert_eq!(table.len(), 0, "a limiter's keys go with it");
}

#[test]
fn a_sweep_makes_room_in_a_full_table() {
    let (limiter, table) = limiter(1, quota(1, Period::Second, 1));
    let later = T0 + Duration::from_secs(2);
    limiter.check(&member(1), T0).unwrap();
    limiter.sweep(later);
    limiter.check(&member(2), later).unwrap();
    assert_eq!((table.len(), table.overflowed(), table.evicted()), (1, 0, 1));
}

#[test]
fn a_reload_keeps_the_state_of_a_quota_that_stays() {
    let table = Arc::new(KeyTable::new(10));
    let slow = quota(1, Period::Hour, 1);
    let before = MemberPolicy::build(
        Mode::Enforce,
        slow,
        [(member(9), quota(5, Period::Second, 5))],
        None,
        &table,
        T0,
    );
    before.limiter_of(&member(1)).check(&member(1), T0).unwrap();
    let later = T0 + Duration::from_secs(60);
    let after = MemberPolicy::build(Mode::Enforce, slow, [], Some(&before), &table, later);
    assert_eq!(
        after
            .limiter_of(&member(1))
            .check(&member(1), later)
            .unwrap_err()
            .retry_after,
        3540
    );
    let raised = MemberPolicy::build(
        Mode::Enforce,
        quota(2, Period::Hour, 1),
        [],
        Some(&after),
        &table,
        later,
    );
    assert!(raised.limiter_of(&member(1)).check(&member(1), later).is_ok());
}

#[test]
fn a_reset_gives_the_whole_burst_back() {
    let (limiter, table) = limiter(10, quota(1, Period::Hour, 1));
    limiter.check(&member(1), T0).unwrap();
    assert!(limiter.check(&member(1), T0).is_err());
    assert!(limiter.reset(&member(1)) && !limiter.reset(&member(1)));
    assert_eq!(table.len(), 0);
    assert!(limiter.check(&member(1), T0).is_ok());
}
