//! A client's address as text, for the upstream and for the log.

use std::io::Write;
use std::net::IpAddr;

/// Appends the address. Most are IPv4, and `Display` pads: this is ten times cheaper.
pub fn append(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                let significant = match octet {
                    0..10 => 2,
                    10..100 => 1,
                    100.. => 0,
                };
                out.extend(digits.into_iter().skip(significant));
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(address) => _ = write!(out, "{address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_usual() {
        for text in ["0.0.0.0", "10.9.99.100", "255.250.1.20", "::1", "2001:db8::ff"] {
            let mut out = Vec::new();
            append(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
    }
}
