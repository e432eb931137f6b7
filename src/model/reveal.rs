//! Whether a log may show values.

/// What the troubleshooting log may show of what is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reveal {
    /// Kinds and lengths alone.
    #[default]
    Nothing,
    /// Values, keys and resource ids: `log.reveal_bind_values` in the topology file.
    Values,
}
