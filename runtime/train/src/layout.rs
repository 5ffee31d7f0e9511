//! How the tensors of a model lie in one flat array.

/// One tensor of parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its path in the model, `encoder.0.weight`: unique, stable between releases.
    pub name: String,
    /// Its shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// Where it begins in the flat array.
    pub start: usize,
}

impl Tensor {
    /// How many numbers it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its numbers are in the flat array.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len()
    }
}

/// The tensors of a model in the order of its forward pass, end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Layout {
    /// Lays out tensors of these names and shapes.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut layout = Self::default();
        for (name, shape) in tensors {
            let start = layout.len;
            let tensor = Tensor { name, shape, start };
            layout.len += tensor.len();
            layout.tensors.push(tensor);
        }
        layout
    }

    /// The tensors.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// How many numbers they have together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_lie_end_to_end() {
        let layout = Layout::new([
            ("a.weight".to_owned(), vec![2, 3]),
            ("a.bias".to_owned(), vec![3]),
            ("scale".to_owned(), vec![]),
        ]);
        let ranges: Vec<_> = layout.tensors().iter().map(Tensor::range).collect();
        assert_eq!(ranges, [0..6, 6..9, 9..10]);
        assert_eq!(layout.len(), 10);
    }
}
