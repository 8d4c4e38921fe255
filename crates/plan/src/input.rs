//! The shape of a network's input.

/// A network's input for one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputShape {
    /// `[channels, height, width]`, from u8.
    Image { channels: usize, height: usize, width: usize },
    /// `[width]`, f32.
    Features { width: usize },
}

impl InputShape {
    /// Numbers in one row.
    #[must_use]
    pub fn values(self) -> usize {
        match self {
            Self::Image { channels, height, width } => channels * height * width,
            Self::Features { width } => width,
        }
    }

    /// Bytes of one row in the prepared folder.
    #[must_use]
    pub fn row_bytes(self) -> usize {
        match self {
            Self::Image { .. } => self.values(),
            Self::Features { .. } => 4 * self.values(),
        }
    }
}
