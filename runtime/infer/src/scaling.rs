//! Means and spreads by channel, between which and zero and one a model was trained.

use std::collections::BTreeMap;

/// Brings values of channels to mean 0 and spread 1, or back.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Mean and spread of each channel, or one for all.
    channels: Vec<(f64, f64)>,
}

/// Why a scaling is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScalingError {
    /// It cannot be read.
    #[error("{place}: `{found}` is not MEAN:SPREAD[,MEAN:SPREAD...] with spreads other than 0")]
    Text {
        /// The flag or the key in the model file.
        place: String,
        /// What stands there.
        found: String,
    },
    /// It is for another number of channels.
    #[error("{place} has {found} channels, but the model has {expected}: give 1 or {expected}")]
    Count {
        /// The flag or the key in the model file.
        place: String,
        /// How many it has.
        found: usize,
        /// How many there are.
        expected: usize,
    },
}

impl Scaling {
    /// Reads `MEAN:SPREAD,...`; `place` is where it stands, for messages.
    ///
    /// # Errors
    /// [`ScalingError::Text`].
    pub fn parse(text: &str, place: &str) -> Result<Self, ScalingError> {
        let refuse = || ScalingError::Text {
            place: place.to_owned(),
            found: text.to_owned(),
        };
        let channel = |word: &str| {
            let (mean, spread) = word.split_once(':')?;
            let (mean, spread): (f64, f64) =
                (mean.trim().parse().ok()?, spread.trim().parse().ok()?);
            let is_sound = mean.is_finite() && spread.is_finite() && spread != 0.0;
            is_sound.then_some((mean, spread))
        };
        let channels: Option<Vec<_>> = text.split(',').map(channel).collect();
        let channels = channels.ok_or_else(refuse)?;
        Ok(Self { channels })
    }

    /// What a model file has under `key`; `None` if nothing.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn of_model(
        metadata: &BTreeMap<String, String>,
        key: &str,
    ) -> Result<Option<Self>, ScalingError> {
        let text = metadata.get(key);
        text.map(|text| Self::parse(text, &format!("`{key}` in the model")))
            .transpose()
    }

    /// Mean and spread of each of so many channels.
    ///
    /// # Errors
    /// [`ScalingError::Count`] if there are others.
    pub fn for_channels(&self, count: usize, place: &str) -> Result<Vec<(f64, f64)>, ScalingError> {
        match self.channels.as_slice() {
            [one] => Ok(vec![*one; count]),
            channels if channels.len() == count => Ok(channels.to_vec()),
            channels => Err(ScalingError::Count {
                place: place.to_owned(),
                found: channels.len(),
                expected: count,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_one_each_or_share_one() {
        let scaling = Scaling::parse("280:10, 5:-2.5", "--normalise").unwrap();
        let two = scaling.for_channels(2, "--normalise").unwrap();
        assert_eq!(two, [(280.0, 10.0), (5.0, -2.5)]);
        let error = scaling.for_channels(3, "--normalise").unwrap_err();
        let expected = "--normalise has 2 channels, but the model has 3: give 1 or 3";
        assert_eq!(error.to_string(), expected);
        let one = Scaling::parse("0:1", "x").unwrap();
        assert_eq!(one.for_channels(2, "x").unwrap(), [(0.0, 1.0); 2]);
    }

    #[test]
    fn what_would_divide_by_nothing_is_refused() {
        for text in ["", "1", "1:0", "1:nan", "1:2,", "a:b"] {
            assert!(Scaling::parse(text, "x").is_err(), "{text}");
        }
    }
}
