//! The weight of a member: its share of a pool's requests.
//!
//! The first of these that gives one decides: an operator's override, the node's own announcement, the services file,
//! the configuration of its pool.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A weight from 1 to 256, as load balancers take it. There is no weight 0: a node that gets no new requests is no
/// member, but [draining](super::pools::DrainingMember).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub struct Weight(NonZeroU16);

/// Who gives a node its weight, the first that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WeightSource {
    /// An operator.
    Override,
    /// The node, in its announcement.
    Node,
    /// The services file.
    ServicesFile,
    /// The configuration of its pool, or the default.
    Pool,
}

/// A number is no weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("expected a weight from 1 to 256")]
pub struct WeightError;

impl Weight {
    /// The smallest share.
    pub const MIN: Self = Self(NonZeroU16::MIN);
    /// The largest share.
    pub const MAX: Self = Self::of(256);

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// A number from 1 to 256 that is known when this is compiled.
    const fn of(number: u16) -> Self {
        match NonZeroU16::new(number) {
            Some(number) => Self(number),
            None => Self::MIN,
        }
    }
}

/// 100, of which percentages are whole numbers, with room above.
impl Default for Weight {
    fn default() -> Self {
        Self::of(100)
    }
}

impl TryFrom<u16> for Weight {
    type Error = WeightError;

    fn try_from(number: u16) -> Result<Self, WeightError> {
        let weight = NonZeroU16::new(number).map(Self);
        let weight = weight.filter(|weight| *weight <= Self::MAX);
        weight.ok_or(WeightError)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.get()
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    /// Decimal digits only: the number's own parser accepts "+80", too.
    fn from_str(text: &str) -> Result<Self, WeightError> {
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<u16> = text.parse().ok().filter(|_| is_decimal);
        number.ok_or(WeightError)?.try_into()
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_from_1_to_256() {
        let weight = |number: u16| Weight::try_from(number).map(Weight::get);
        for number in [1, 100, 256] {
            assert_eq!(weight(number), Ok(number));
        }
        for number in [0, 257, u16::MAX] {
            assert_eq!(weight(number), Err(WeightError));
        }
        assert_eq!(weight(100), Ok(Weight::default().get()));
        assert_eq!(weight(256), Ok(Weight::MAX.get()));
        assert_eq!(size_of::<Option<Weight>>(), 2);
    }

    #[test]
    fn a_weight_is_written_in_decimal_digits() {
        for (text, number) in [("1", 1), ("50", 50), ("256", 256), ("007", 7)] {
            assert_eq!(text.parse().map(Weight::get), Ok(number));
        }
        for text in ["", "0", "257", "65537", "+5", "-1", "5%", "1.5", " 5"] {
            assert_eq!(text.parse::<Weight>(), Err(WeightError), "{text:?}");
        }
    }
}
