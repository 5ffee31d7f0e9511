//! How often somebody may call: a bucket of tokens for each caller, and one for each address whose
//! calls are refused. Tables are bounded: whoever finds no place in a full one shares a bucket with
//! the others that found none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds' worth of calls that may come at once.
const BURST_SECONDS: f64 = 10.0;

/// Most buckets of one table.
const MAX_BUCKETS: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    /// Whether the last call found none.
    is_empty: bool,
}

/// Somebody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// How long.
    pub wait: Duration,
    /// Whether the call before was let through.
    pub is_first: bool,
}

/// Buckets of one rate.
pub struct Rate {
    per_s: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Rate {
    /// Buckets that `per_s` tokens a second fall into; 0 is no bound.
    #[must_use]
    pub fn new(per_s: u32) -> Self {
        Self {
            per_s: f64::from(per_s),
            buckets: Mutex::default(),
        }
    }

    /// Takes a token for a call of `key`.
    ///
    /// # Errors
    /// [`Limited`] if there is none.
    pub fn take(&self, key: &str, now: Instant) -> Result<(), Limited> {
        if self.per_s == 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.place(&mut buckets, key, now);
        let bucket = buckets.entry(key).or_insert(Bucket {
            tokens: self.most(),
            filled: now,
            is_empty: false,
        });
        bucket.tokens = self.tokens(bucket, now);
        bucket.filled = now;
        let is_first = !std::mem::replace(&mut bucket.is_empty, bucket.tokens < 1.0);
        if bucket.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_s);
            return Err(Limited { wait, is_first });
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// The bucket's name: its own, or the common one if there is no place for more.
    fn place(&self, buckets: &mut HashMap<String, Bucket>, key: &str, now: Instant) -> String {
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(key) {
            // Who has not called for a while is as somebody who never did.
            buckets.retain(|_, bucket| self.tokens(bucket, now) < self.most());
            if buckets.len() >= MAX_BUCKETS {
                return String::new();
            }
        }
        key.to_owned()
    }

    fn most(&self) -> f64 {
        self.per_s * BURST_SECONDS
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let waited = now.saturating_duration_since(bucket.filled).as_secs_f64();
        (bucket.tokens + waited * self.per_s).min(self.most())
    }
}

/// The bucket of an address; an IPv6 host has a whole network of 64 bits to call from.
#[must_use]
pub fn of_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => four.to_string(),
            None => {
                let [a, b, c, d, ..] = six.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_at_its_rate_for_its_owner_alone() {
        let rate = Rate::new(2);
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for _ in 0..20 {
            assert_eq!(rate.take("a", at(0)), Ok(()));
        }
        let wait = Duration::from_millis(500);
        let limited = |is_first| Err(Limited { wait, is_first });
        assert_eq!(rate.take("a", at(0)), limited(true));
        assert_eq!(rate.take("a", at(0)), limited(false));
        assert_eq!(rate.take("b", at(0)), Ok(()));
        assert_eq!(rate.take("a", at(500)), Ok(()));
        assert_eq!(rate.take("a", at(500)), limited(true));
        // However long nobody calls, no more than the burst is there.
        let passed = (0..100).filter(|_| rate.take("a", at(1_000_000)).is_ok());
        assert_eq!(passed.count(), 20);
        assert!((0..1000).all(|_| Rate::new(0).take("a", at(0)).is_ok()));
    }

    #[test]
    fn a_full_table_lets_nobody_call_more_and_forgets_the_idle() {
        let rate = Rate::new(1);
        let start = Instant::now();
        for n in 0..MAX_BUCKETS {
            assert_eq!(rate.take(&n.to_string(), start), Ok(()));
        }
        let strangers = (0..1000).filter(|n| rate.take(&format!("x{n}"), start).is_ok());
        assert_eq!(strangers.count(), 10, "they share one bucket");
        assert!(rate.buckets.lock().unwrap().len() <= MAX_BUCKETS + 1);
        assert_eq!(rate.take("5", start), Ok(()), "a known one has its own");
        let later = start + Duration::from_secs(60);
        assert_eq!(rate.take("y", later), Ok(()));
        assert_eq!(rate.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_network_of_one_host_has_one_bucket() {
        let of = |text: &str| of_address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
