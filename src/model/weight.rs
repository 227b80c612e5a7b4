//! The weight of a member: its share of a pool's requests.

/// A weight from 1 to 256, as load balancers take it. There is no weight 0: a node that gets no new requests is no
/// member, but [draining](super::pools::DrainingMember).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

/// A number is no weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a weight from 1 to 256")]
pub struct WeightError;

impl Weight {
    /// The smallest share.
    pub const MIN: Self = Self(1);
    /// The largest share.
    pub const MAX: Self = Self(256);

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// 100, of which percentages are whole numbers, with room above.
impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u16> for Weight {
    type Error = WeightError;

    fn try_from(number: u16) -> Result<Self, WeightError> {
        let weight = Self(number);
        let is_valid = (Self::MIN..=Self::MAX).contains(&weight);
        is_valid.then_some(weight).ok_or(WeightError)
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
    }
}
