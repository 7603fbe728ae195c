//! Which of the client's headers the upstream does not get: names that are ours to say, names by which handlers
//! look for the client's address, and spellings that PHP or a lax server would read as one of them.

use http::HeaderName;

/// What the client may say depends on where it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reserve {
    /// On widget routes everything that is called `X-Bitrix24-` is ours.
    EveryBitrix24Name,
    /// On pass routes only what we do say somewhere: the application has names of its own.
    OurNames,
}

// Names in the form in which they are compared: lower case, every byte that is not a letter or digit as `_`.

/// Said anew, or nobody's to say.
const ALWAYS: [&[u8]; 13] = [
    b"x_request_id",
    b"traceparent",
    b"forwarded",
    b"x_forwarded_for",
    b"x_forwarded_proto",
    b"x_forwarded_host",
    b"x_real_ip",
    b"x_original_url",
    b"x_rewrite_url",
    b"x_http_method_override",
    b"proxy",
    b"upgrade",
    b"http2_settings",
];
const ACCEL: &[u8] = b"x_accel_";

const BITRIX24: &[u8] = b"x_bitrix24_";
/// What stands behind [`BITRIX24`] in a name of ours.
const OUR_NAMES: [&[u8]; 15] = [
    b"message",
    b"event",
    b"domain",
    b"protocol",
    b"portal",
    b"lang",
    b"locale",
    b"member_id",
    b"placement",
    b"placement_options",
    b"placement_options_state",
    b"app_sid",
    b"status",
    b"verified",
    b"user_id",
];

/// What a proxy in front may say, and nobody else. Handlers take the client's address, and whether it came by
/// TLS, from the first of these that they find.
const OF_PROXIES: [&[u8]; 14] = [
    b"tracestate",
    b"client_ip",
    b"x_client_ip",
    b"x_cluster_client_ip",
    b"true_client_ip",
    b"cf_connecting_ip",
    b"forwarded_for",
    b"x_forwarded",
    b"x_host",
    b"x_original_host",
    b"front_end_https",
    b"x_url_scheme",
    b"remote_user",
    b"x_remote_user",
];
const FORWARDED: &[u8] = b"x_forwarded_";

/// Framing and hop-by-hop headers: the engine has judged what is spelled so, a server behind could read the rest.
const OF_HOPS: [&[u8]; 7] = [
    b"content_length",
    b"content_type",
    b"transfer_encoding",
    b"keep_alive",
    b"proxy_connection",
    b"proxy_authenticate",
    b"proxy_authorization",
];

/// Whether the header is taken away; `from_proxy` says who sent it.
pub(super) fn is_removed(name: &HeaderName, reserve: Reserve, from_proxy: bool) -> bool {
    let spelled = name.as_str().as_bytes();
    let is = |known: &&[u8]| spelled.len() == known.len() && begins(spelled, known);
    if ALWAYS.iter().any(is) || begins(spelled, ACCEL) {
        return true;
    }
    if begins(spelled, BITRIX24) {
        let own = spelled.get(BITRIX24.len()..).unwrap_or_default();
        let is_ours = |known: &&[u8]| own.len() == known.len() && begins(own, known);
        return reserve == Reserve::EveryBitrix24Name || OUR_NAMES.iter().any(is_ours);
    }
    let is_plain = spelled.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-');
    if begins(spelled, FORWARDED) || OF_PROXIES.iter().any(is) {
        return !(from_proxy && is_plain);
    }
    !is_plain && OF_HOPS.iter().any(is)
}

/// Names that mean something else to servers and handlers, beside those above.
const MEANT: [&[u8]; 12] = [
    b"host",
    b"connection",
    b"cookie",
    b"te",
    b"trailer",
    b"expect",
    b"date",
    b"via",
    b"range",
    b"authorization",
    b"user_agent",
    b"max_forwards",
];

/// Whether a name says nothing to anybody yet, so that the proof of an upstream may have it.
pub fn is_free(name: &HeaderName) -> bool {
    let spelled = name.as_str().as_bytes();
    let is = |known: &&[u8]| spelled.len() == known.len() && begins(spelled, known);
    let is_meant = MEANT.iter().chain(&OF_HOPS).any(is)
        || [&b"accept"[..], b"content_", b"if_"]
            .iter()
            .any(|known| begins(spelled, known));
    !is_meant && !is_removed(name, Reserve::EveryBitrix24Name, false)
}

fn begins(name: &[u8], known: &[u8]) -> bool {
    let byte = |b: u8| match b.is_ascii_alphanumeric() {
        true => b.to_ascii_lowercase(),
        false => b'_',
    };
    name.len() >= known.len()
        && name
            .iter()
            .zip(known)
            .all(|(&given, &known)| byte(given) == known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(names: &[&'static str], reserve: Reserve, from_proxy: bool) -> Vec<&'static str> {
        let is_removed = |name: &&str| is_removed(&name.parse().unwrap(), reserve, from_proxy);
        names.iter().copied().filter(|name| is_removed(name)).collect()
    }

    #[test]
    fn what_is_ours_to_say_is_nobodys_in_any_spelling() {
        let names = [
            "X-Request-Id",
            "x_forwarded_for",
            "X.Real.IP",
            "Forwarded",
            "X-Original-URL",
            "X-Accel-Redirect",
            "Proxy",
            "Upgrade",
            "X-Bitrix24-Member-Id",
            "X_Bitrix24_Member-Id",
            "x.bitrix24.verified",
            "X-Bitrix24-User-Id",
            "Content_Length",
            "Transfer_Encoding",
            "keep_alive",
            "content.type",
        ];
        for reserve in [Reserve::EveryBitrix24Name, Reserve::OurNames] {
            for from_proxy in [true, false] {
                assert_eq!(removed(&names, reserve, from_proxy), names);
            }
        }
        let kept = [
            "host",
            "content-length",
            "content-type",
            "keep-alive",
            "x-bitrix24",
            "x-accel",
        ];
        assert_eq!(removed(&kept, Reserve::EveryBitrix24Name, false), [""; 0]);
    }

    #[test]
    fn an_application_has_names_of_its_own_beside_widgets() {
        let names = ["X-Bitrix24-Signature", "X-Bitrix24-Members", "x_bitrix24_eventid"];
        assert_eq!(removed(&names, Reserve::EveryBitrix24Name, false), names);
        assert_eq!(removed(&names, Reserve::OurNames, false), [""; 0]);
    }

    #[test]
    fn only_a_proxy_knows_the_client() {
        let names = [
            "Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "True-Client-IP",
            "CF-Connecting-IP",
            "Forwarded-For",
            "X-Forwarded",
            "X-Forwarded-Ssl",
            "X-Forwarded-Port",
            "X-Forwarded-Prefix",
            "X-Forwarded-Anything",
            "X-Host",
            "X-Original-Host",
            "Front-End-Https",
            "X-Url-Scheme",
            "Remote-User",
            "X-Remote-User",
            "tracestate",
        ];
        assert_eq!(removed(&names, Reserve::OurNames, false), names);
        assert_eq!(removed(&names, Reserve::OurNames, true), [""; 0]);
        // A proxy spells its headers as it should; what it lets through of the client's does not count.
        assert_eq!(
            removed(&["client_ip", "x_forwarded_ssl"], Reserve::OurNames, true).len(),
            2
        );
    }
}
