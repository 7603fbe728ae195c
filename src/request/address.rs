//! A client's address as text, for the upstream and for the log.

use std::io::Write;
use std::net::IpAddr;

/// Appends the address. Most are IPv4, and `Display` pads: this is ten times cheaper.
pub fn append(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mut digits = itoa::Buffer::new();
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(digits.format(octet).as_bytes());
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
