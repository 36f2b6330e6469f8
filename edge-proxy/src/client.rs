//! Who is asking: the client's address, and the network that limits are kept by.
//!
//! A forwarded address is believed only from peers that the operator lists, and only as far back
//! as the chain of listed peers goes: the right-most address that is not itself trusted counts.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// Most addresses of one `X-Forwarded-For` that are looked at; a longer chain is not a CDN's.
const HOPS_MAX: usize = 16;

/// An address range such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    base: u128,
    prefix_bits: u8,
    is_v4: bool,
}

/// Text that is not an address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address range such as 10.0.0.0/8 or fd00::/8")]
pub struct CidrError(String);

impl Cidr {
    /// Whether `addr` is in the range.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let (bits, is_v4) = to_bits(addr);
        is_v4 == self.is_v4 && mask(bits, self.prefix_bits, is_v4) == self.base
    }
}

impl FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let refused = || CidrError(text.chars().take(64).collect());
        let (addr, prefix_bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits.parse::<u8>().map_err(|_| refused())?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| refused())?;
        let (bits, is_v4) = to_bits(addr);
        let width = if is_v4 { 32 } else { 128 };
        let prefix_bits = prefix_bits.unwrap_or(width);
        if prefix_bits > width {
            return Err(refused());
        }
        Ok(Self { base: mask(bits, prefix_bits, is_v4), prefix_bits, is_v4 })
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;
    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

/// What limits are kept by: an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(u128, bool);

impl Network {
    /// The network of an address.
    #[must_use]
    pub fn of(addr: IpAddr) -> Self {
        let (bits, is_v4) = to_bits(addr);
        Self(mask(bits, if is_v4 { 32 } else { 64 }, is_v4), is_v4)
    }

    /// Shortened to a /24 or /48, as it may be shown and kept.
    #[must_use]
    pub fn shortened(self) -> String {
        let Self(bits, is_v4) = self;
        let prefix_bits = if is_v4 { 24 } else { 48 };
        let base = mask(bits, prefix_bits, is_v4);
        if is_v4 {
            let base = u32::try_from(base & u128::from(u32::MAX)).unwrap_or_default();
            format!("{}/24", std::net::Ipv4Addr::from(base))
        } else {
            format!("{}/48", std::net::Ipv6Addr::from(base))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shortened())
    }
}

/// The client's address: the peer's own, or the one that trusted peers vouch for.
///
/// `forwarded_for` are the values of all `X-Forwarded-For` fields in order. What is not an address
/// ends the chain: the last address that was believed counts.
#[must_use]
pub fn client_addr(peer: IpAddr, forwarded_for: &[&str], trusted: &[Cidr]) -> IpAddr {
    let is_trusted = |addr: IpAddr| trusted.iter().any(|range| range.contains(addr));
    let mut client = peer.to_canonical();
    let hops = forwarded_for.iter().rev().flat_map(|value| value.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        match hop_addr(hop.trim()) {
            Some(addr) => client = addr.to_canonical(),
            None => break,
        }
    }
    client
}

/// An address, also as some proxies write it: `ip:port`, `[v6]` or `[v6]:port`.
fn hop_addr(hop: &str) -> Option<IpAddr> {
    let bare = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    hop.parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|addr| addr.ip()))
        .ok()
        .or_else(|| bare().map(IpAddr::V6))
}

fn to_bits(addr: IpAddr) -> (u128, bool) {
    match addr.to_canonical() {
        IpAddr::V4(addr) => (u128::from(u32::from(addr)), true),
        IpAddr::V6(addr) => (u128::from(addr), false),
    }
}

fn mask(bits: u128, prefix_bits: u8, is_v4: bool) -> u128 {
    let width = if is_v4 { 32 } else { 128 };
    let host_bits = u32::from(width - prefix_bits.min(width));
    bits.checked_shr(host_bits).and_then(|kept| kept.checked_shl(host_bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_forwarded_address_counts_only_from_trusted_peers() {
        //    peer           X-Forwarded-For                        client
        check("203.0.113.9", &["198.51.100.7"],                     "203.0.113.9");
        check("10.0.0.1",    &["198.51.100.7"],                     "198.51.100.7");
        check("10.0.0.1",    &["6.6.6.6, 198.51.100.7"],            "198.51.100.7"); // forged first hop
        check("10.0.0.1",    &["6.6.6.6, 198.51.100.7, 10.0.0.2"],  "198.51.100.7");
        check("10.0.0.1",    &["6.6.6.6", "198.51.100.7"],          "198.51.100.7");
        check("10.0.0.1",    &[],                                   "10.0.0.1");
        check("10.0.0.1",    &["not an address"],                   "10.0.0.1");
        check("10.0.0.1",    &["198.51.100.7, , "],                 "10.0.0.1");
        check("::ffff:10.0.0.1", &["::ffff:198.51.100.7"],          "198.51.100.7");
        check("fd00::1",     &["2001:db8::1"],                      "2001:db8::1");
        check("10.0.0.1",    &["198.51.100.7:4711"],                "198.51.100.7"); // as Azure writes it
        check("10.0.0.1",    &["[2001:db8::1]:4711, 10.0.0.2:80"],  "2001:db8::1");
        check("10.0.0.1",    &["[2001:db8::1]"],                    "2001:db8::1");
        check("10.0.0.1",    &["198.51.100.7:x"],                   "10.0.0.1");
    }

    #[track_caller]
    fn check(peer: &str, forwarded_for: &[&str], expected: &str) {
        let trusted: Vec<Cidr> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        let client = client_addr(peer.parse().unwrap(), forwarded_for, &trusted);
        assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded_for:?}");
    }

    #[test]
    fn networks_are_an_address_or_a_64() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("198.51.100.7"), network("198.51.100.8"));
        assert_eq!(network("198.51.100.7").shortened(), "198.51.100.0/24");
        assert_eq!(network("2001:db8:1:2::1").shortened(), "2001:db8:1::/48");
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        for text in ["10.0.0.0/33", "fd00::/129", "10.0.0/8", "x", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
