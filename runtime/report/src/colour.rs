//! Colour scales whose steps look equal, also to most people who see fewer colours.

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Dark blue over green to yellow: anchors of matplotlib's viridis (CC0), for amounts.
const SEQUENTIAL: [Rgb; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];

/// Blue over white to red: anchors of ColorBrewer's RdBu, for differences from a middle.
const DIVERGING: [Rgb; 11] = [
    [5, 48, 97],
    [33, 102, 172],
    [67, 147, 195],
    [146, 197, 222],
    [209, 229, 240],
    [247, 247, 247],
    [253, 219, 199],
    [244, 165, 130],
    [214, 96, 77],
    [178, 24, 43],
    [103, 0, 31],
];

/// A scale from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// For amounts.
    Sequential,
    /// For differences; 0.5 is white.
    Diverging,
}

impl Scale {
    /// The colour at `place`, which is clamped into 0..=1; NaN is 0.
    #[must_use]
    pub fn at(self, place: f64) -> Rgb {
        let anchors: &[Rgb] = match self {
            Self::Sequential => &SEQUENTIAL,
            Self::Diverging => &DIVERGING,
        };
        let last = anchors.len() - 1;
        let place = if place.is_nan() {
            0.0
        } else {
            place.clamp(0.0, 1.0)
        };
        let scaled = place * last as f64;
        let low = (scaled.floor() as usize).min(last - 1);
        let share = scaled - low as f64;
        let mix = |channel: usize| {
            let from = f64::from(anchors[low][channel]);
            let to = f64::from(anchors[low + 1][channel]);
            (from + (to - from) * share).round() as u8
        };
        [mix(0), mix(1), mix(2)]
    }

    /// `at`, as `#rrggbb`.
    #[must_use]
    pub fn hex(self, place: f64) -> String {
        let [red, green, blue] = self.at(place);
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_begin_and_end_at_their_anchors() {
        assert_eq!(Scale::Sequential.hex(0.0), "#440154");
        assert_eq!(Scale::Sequential.hex(1.0), "#fde725");
        assert_eq!(Scale::Sequential.hex(7.0), "#fde725");
        assert_eq!(Scale::Diverging.hex(0.5), "#f7f7f7");
        assert_eq!(Scale::Sequential.at(f64::NAN), Scale::Sequential.at(0.0));
    }
}
