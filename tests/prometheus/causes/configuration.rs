//! Configurations that are refused, wait or differ, and certificates that end.

use std::time::Duration;

use super::{Case, case, kept, once, sound, traffic};
use crate::common::forms::routes;
use crate::common::{Gateway, Setup, Upstream};

pub fn reloads() -> Case {
    let upstream = kept(Upstream::start());
    let gateway = kept(Gateway::start(routes(&[upstream.address])));
    let text = kept(gateway.text(&routes(&[upstream.address])));
    let file = move |content: String, fire| {
        once(
            move || gateway.replace_file(content),
            move || traffic(gateway),
            fire,
        )
    };
    case(
        "configuration",
        &[gateway],
        [
            file(format!("{text}["), &["WidgetGatewayConfigReloadFailed"]),
            file(text.clone(), &[]),
            file(
                text.replace("threads = 2", "threads = 3"),
                &["WidgetGatewayConfigRestartPending"],
            ),
            file(text.clone(), &[]),
        ],
    )
}

pub fn replicas() -> Case {
    let upstream = kept(Upstream::start());
    let rest = move |rate: &str| {
        format!(
            "{}[limits.member]\nrate = \"{rate}\"\n",
            routes(&[upstream.address])
        )
    };
    let setup = |address: &str| Setup::of(rest("7000/s")).admin(address);
    // Two addresses, and two folders.
    let one = kept(Gateway::with(setup("127.0.0.1:0")));
    let other = kept(Gateway::with(setup("127.0.0.2:0")));
    let both = move || {
        traffic(one);
        traffic(other);
    };
    case(
        "replicas",
        &[one, other],
        [
            once(both, both, &[]),
            once(
                move || one.rewrite(&rest("8000/s")),
                both,
                &["WidgetGatewayConfigDiffers"],
            ),
            once(move || other.rewrite(&rest("8000/s")), both, &[]),
        ],
    )
}

pub fn certificates() -> Case {
    let folder = kept(tempfile::tempdir().unwrap());
    let issue = move |days: u64| {
        let mut params = rcgen::CertificateParams::new(vec!["widgets.example".to_owned()]).unwrap();
        params.not_after = (std::time::SystemTime::now() + Duration::from_secs(days * 86_400)).into();
        let key = rcgen::KeyPair::generate().unwrap();
        // Both in one file, which is exchanged at once.
        let both = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        std::fs::write(folder.path().join("new"), both).unwrap();
        std::fs::rename(folder.path().join("new"), folder.path().join("both")).unwrap();
    };
    issue(90);
    let both = folder.path().join("both");
    let gateway = sound(&format!(
        "[[server.listeners]]\naddress = \"127.0.0.1:0\"\ntls = [{{ cert = {both:?}, key = {both:?} }}]\n"
    ));
    let after = move |days, fire| once(move || issue(days), move || traffic(gateway), fire);
    case(
        "certificates",
        &[gateway],
        [
            after(10, &["WidgetGatewayCertificateExpiring"]),
            after(2, &["WidgetGatewayCertificateExpiringSoon"]),
            after(90, &[]),
        ],
    )
}
