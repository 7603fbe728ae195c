//! Several policies over one request: who is asked, who binds, and who pays.

use super::*;

const ENFORCE: Mode = Mode::Enforce;

fn hourly(burst: u32) -> PolicySpec {
    enforced(quota(1, Period::Hour, burst))
}

fn observed(burst: u32) -> PolicySpec {
    PolicySpec {
        mode: Mode::Observe,
        ..hourly(burst)
    }
}

fn placed(n: u64, placement: &str) -> Call {
    read(&format!(
        "DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en&PLACEMENT={placement}&member_id={n:032x}"
    ))
}

fn event(auth: &str) -> Call {
    read(&format!(
        "event=ONCRMDEALADD&auth[domain]=portal.bitrix24.com{auth}"
    ))
}

fn matches(pattern: &str, policy: PolicySpec) -> PlacementSpec {
    PlacementSpec {
        matches: Pattern::parse(pattern).unwrap(),
        policy,
    }
}

fn at_once(policy: PolicySpec) -> EventSpec {
    EventSpec {
        policy,
        wait: Duration::ZERO,
    }
}

/// Who refuses; none where nobody does.
fn refuses(asked: Result<Permit, Refused>) -> Option<PolicyName> {
    asked.err().map(|refused| refused.policy)
}

#[test]
fn a_client_is_counted_by_its_address_and_before_the_others() {
    let limits = limits(LimitsSpec {
        client: Some(ClientSpec {
            policy: hourly(2),
            except: vec!["198.51.100.0/24".parse().unwrap()],
        }),
        gateway: Some(hourly(100)),
        ..LimitsSpec::default()
    });
    let enter = |address: &str| limits.enter(Some(client(address)), ENFORCE, T0);
    for same in ["2001:db8::1", "2001:db8::ffff:1"] {
        assert!(enter(same).is_ok());
    }
    let refused = enter("2001:db8::2").unwrap_err();
    assert_eq!(refused.policy, PolicyName::Client);
    let asked: Vec<_> = refused.decisions.iter().map(|said| said.policy).collect();
    assert_eq!(asked, [PolicyName::Client], "nobody else was asked");
    assert!(enter("2001:db8:0:1::2").is_ok(), "another /64");
    for _ in 0..5 {
        let entered = enter("198.51.100.7").unwrap();
        assert_eq!(
            entered.decisions().iter().count(),
            0,
            "an exception is not counted"
        );
    }
    let observing = limits
        .enter(Some(client("2001:db8::2")), Mode::Observe, T0)
        .unwrap();
    assert!(observing.decisions().is_over());
}

#[test]
fn what_a_later_policy_refuses_takes_nothing_from_the_gateway() {
    let limits = limits(LimitsSpec {
        gateway: Some(hourly(3)),
        member: Some(hourly(1)),
        ..LimitsSpec::default()
    });
    let asked = |n| refuses(admit(&limits, call(n), ENFORCE, T0));
    assert_eq!(asked(1), None);
    for _ in 0..50 {
        assert_eq!(asked(1), Some(PolicyName::Member), "a storm of one");
    }
    assert_eq!([asked(2), asked(3)], [None, None], "is not everybody's");
    assert_eq!(asked(4), Some(PolicyName::Gateway));
    // And what the gateway refuses takes nothing from the member.
    let hour = T0 + Duration::from_secs(3600);
    assert_eq!(refuses(admit(&limits, call(4), ENFORCE, hour)), None);
}

#[test]
fn a_gateway_that_only_observes_is_given_nothing_back_that_it_did_not_grant() {
    let limits = limits(LimitsSpec {
        gateway: Some(observed(1)),
        member: Some(hourly(1)),
        ..LimitsSpec::default()
    });
    let asked = |n| admit(&limits, call(n), ENFORCE, T0);
    assert!(!asked(1).unwrap().decisions().is_over());
    assert_eq!(refuses(asked(1)), Some(PolicyName::Member));
    for n in 2..5 {
        assert!(asked(n).unwrap().decisions().is_over(), "still over");
    }
}

#[test]
fn placements_with_a_limit_of_their_own_neither_eat_nor_are_eaten() {
    let limits = limits(LimitsSpec {
        member: Some(hourly(1)),
        placement: vec![
            matches("PAGE_BACKGROUND_WORKER", hourly(2)),
            matches("CRM_LEAD_*", hourly(1)),
            matches("CRM_*", observed(1)),
        ],
        ..LimitsSpec::default()
    });
    let asked = |n, placement| refuses(admit(&limits, placed(n, placement), ENFORCE, T0));
    let own = Some(PolicyName::Placement);
    let worker = [1, 2, 3].map(|_| asked(1, "PAGE_BACKGROUND_WORKER"));
    assert_eq!(worker, [None, None, own]);
    assert_eq!(asked(2, "PAGE_BACKGROUND_WORKER"), None, "per member");
    assert_eq!(
        [asked(1, "CRM_LEAD_A"), asked(1, "CRM_LEAD_B")],
        [None, own],
        "a family is one"
    );
    assert_eq!(
        [asked(1, "DEFAULT"), asked(1, "REST_APP")],
        [None, Some(PolicyName::Member)]
    );
    let over = (0..2).map(|_| admit(&limits, placed(1, "CRM_DEAL_A"), ENFORCE, T0).unwrap());
    let over: Vec<_> = over.map(|permit| permit.decisions().is_over()).collect();
    assert_eq!(over, [false, true], "the first that fits judges, by its own mode");
}

#[test]
fn events_and_robots_are_counted_by_whose_they_are() {
    let limits = limits(LimitsSpec {
        event: Some(at_once(hourly(1))),
        ..LimitsSpec::default()
    });
    let asked = |call| refuses(admit(&limits, call, ENFORCE, T0));
    let member = |n: u64| format!("&auth[member_id]={n:032x}");
    let over = Some(PolicyName::Event);
    assert_eq!([asked(event(&member(1))), asked(event(&member(1)))], [None, over]);
    assert_eq!(asked(event(&member(2))), None);
    // A chat bot's event has no member_id.
    assert_eq!([asked(event("")), asked(event(""))], [None, over]);
    let robot = format!("event_token=1&auth[domain]=portal.bitrix24.com{}", member(3));
    assert_eq!([asked(read(&robot)), asked(read(&robot))], [None, over]);
    assert_eq!(asked(call(1)), None, "a widget takes from another quota");
}

#[test]
fn an_event_over_its_limit_is_held_back_until_its_turn() {
    let twice_a_second = quota(2, Period::Second, 2);
    let build = |mode| {
        limits(LimitsSpec {
            event: Some(EventSpec {
                policy: PolicySpec {
                    mode,
                    quota: twice_a_second,
                },
                wait: Duration::from_millis(1100),
            }),
            ..LimitsSpec::default()
        })
    };
    let start = |limits: &Limits, route| {
        admit(limits, event(""), route, T0)
            .map(|permit| match permit.start() {
                Start::AtOnce => 0,
                Start::At(turn) => (turn - T0).as_millis(),
            })
            .map_err(|refused| refused.limited.retry_after)
    };
    let enforcing = build(ENFORCE);
    let starts = [(); 6].map(|()| start(&enforcing, ENFORCE));
    assert_eq!(
        starts,
        [Ok(0), Ok(0), Ok(500), Ok(1000), Err(2), Err(2)],
        "the refused cost nothing"
    );
    let later = admit(&enforcing, event(""), ENFORCE, T0 + Duration::from_millis(500)).unwrap();
    assert_eq!(
        later.start(),
        Start::At(T0 + Duration::from_millis(1500)),
        "behind those before it"
    );
    let said: Vec<_> = later.decisions().iter().map(|said| said.outcome).collect();
    assert_eq!(
        said,
        [Outcome::Unlimited, Outcome::HeldBack(twice_a_second, 1000)]
    );
    // What is only observed is not delayed.
    for (limits, route) in [(build(ENFORCE), Mode::Observe), (build(Mode::Observe), ENFORCE)] {
        assert_eq!([(); 4].map(|()| start(&limits, route)), [Ok(0); 4]);
    }
}

#[test]
fn turns_are_given_once_whoever_asks_at_the_same_time() {
    let (limiter, _) = limiter(10, quota(100, Period::Second, 1));
    let waits: Vec<u128> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let ask = || {
                    limiter
                        .reserve(&member(1), Source::Unknown, T0, Duration::from_secs(60))
                        .unwrap()
                        .as_millis()
                };
                scope.spawn(move || (0..250).map(|_| ask()).collect::<Vec<_>>())
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let distinct: std::collections::BTreeSet<_> = waits.iter().copied().collect();
    assert_eq!(distinct, (0..1000).map(|n| n * 10).collect());
}

#[test]
fn a_reload_keeps_the_state_of_each_policy_whose_quota_stays() {
    let spec = LimitsSpec {
        client: Some(ClientSpec {
            policy: hourly(1),
            except: Vec::new(),
        }),
        gateway: Some(hourly(4)),
        placement: vec![matches("A*", hourly(1)), matches("B*", hourly(1))],
        event: Some(at_once(hourly(1))),
        ..LimitsSpec::default()
    };
    let tables = KeyTables::new(10);
    let before = Limits::build(&spec, None, &tables, T0);
    let address = Some(client("192.0.2.1"));
    let all = |limits: &Limits| {
        let entered = limits.enter(address, ENFORCE, T0);
        let client = entered.err().map(|refused| refused.policy);
        let calls = [placed(1, "A1"), placed(1, "B1"), event("")];
        let others = calls.map(|call| refuses(admit(limits, call, ENFORCE, T0)));
        (client, others)
    };
    assert_eq!(all(&before), (None, [None; 3]));
    let mut turned = spec.clone();
    turned.placement.reverse();
    let after = Limits::build(&turned, Some(&before), &tables, T0);
    let placement = Some(PolicyName::Placement);
    let refused = [placement, placement, Some(PolicyName::Event)];
    assert_eq!(all(&after), (Some(PolicyName::Client), refused));
    let sizes: Vec<_> = tables.each().map(|(_, table)| table.len()).collect();
    assert_eq!(sizes, [1, 1, 0, 2, 1], "a table for each policy");
}

#[test]
fn operators_find_a_key_with_every_policy_that_counts_by_it() {
    let limits = limits(LimitsSpec {
        client: Some(ClientSpec {
            policy: hourly(1),
            except: Vec::new(),
        }),
        gateway: Some(hourly(9)),
        member: Some(hourly(2)),
        placement: vec![matches("A*", hourly(3))],
        event: Some(at_once(hourly(4))),
        ..LimitsSpec::default()
    });
    let found = |text: &str| {
        let each = limits.policies();
        each.filter_map(|(matches, policy)| {
            let standing = policy.state(text, MemberIdShape::Hex32, Class::Itself, T0)?;
            let left = standing.local.remaining;
            Some((policy.name(), matches.map(Pattern::spelled), left))
        })
        .collect::<Vec<_>>()
    };
    let id = format!("{:032x}", 1);
    assert_eq!(refuses(admit(&limits, placed(1, "A1"), ENFORCE, T0)), None);
    let placement = Some("A*".to_owned());
    assert_eq!(
        found(&id),
        [
            (PolicyName::Member, None, 2),
            (PolicyName::Placement, placement, 2),
            (PolicyName::Event, None, 4)
        ]
    );
    assert_eq!(found("gateway"), [(PolicyName::Gateway, None, 8)]);
    assert_eq!(found("2001:db8::1"), [(PolicyName::Client, None, 1)]);
    assert_eq!(found("portal.bitrix24.com"), [(PolicyName::Event, None, 4)]);
    assert_eq!(found("portal"), []);
    let reset = limits
        .policies()
        .filter_map(|(_, policy)| policy.reset(&id, MemberIdShape::Hex32, Class::Itself, T0))
        .filter(|(had_state, _)| *had_state);
    assert_eq!(reset.count(), 1);
}
