//! What counts as one client when streams are counted: an IPv4 address, or a /64 network of IPv6.
//!
//! In: the address of the other end.  Out: a [`Client`].
//! Never here: headers such as `X-Forwarded-For`; whoever can set them could be anybody.
//! Start at [`Client::of`].

use std::net::{IpAddr, SocketAddr};

/// One client. A subscriber of IPv6 has at least 2^64 addresses (RFC 6177), so that counting single ones would count nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Client {
    pub(crate) fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let octets = address.octets();
                Self::V6(std::array::from_fn(|i| octets[i]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_host_parts_do_not_count() {
        let of = |text: &str| Client::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1:1"), of("192.0.2.1:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::2:3]:9"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.1]:1"), of("192.0.2.1:1"));
    }
}
