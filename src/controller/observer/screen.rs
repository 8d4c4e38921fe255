//! The terminal on stderr below which the user may type. The cursor rests on a line of its own below the live lines, so that the terminal
//! echoes there; a bar that is drawn again goes back over what was echoed.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

/// Columns and lines where the terminal does not say.
const SIZE: (u16, u16) = (80, 24);

/// A target for live lines.
#[derive(Debug, Default)]
pub(super) struct Screen {
    frame: Mutex<Frame>,
    /// Lines that the user has ended since the last frame: the cursor is so much lower.
    echoed: Arc<AtomicUsize>,
}

/// What is written at once.
#[derive(Debug, Default)]
struct Frame {
    text: String,
    begun: bool,
    /// Whether it has live lines.
    lines: bool,
    /// Whether the cursor rests below those of the last one.
    rests: bool,
}

impl Screen {
    /// A screen, and the count of lines that the user has ended: to be raised by one for each.
    pub(super) fn new() -> (Self, Arc<AtomicUsize>) {
        let echoed = Arc::new(AtomicUsize::new(0));
        (Self { frame: Mutex::default(), echoed: Arc::clone(&echoed) }, echoed)
    }

    /// The frame, begun: the cursor is at the end of the live lines.
    fn frame(&self) -> MutexGuard<'_, Frame> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        if !frame.begun {
            frame.begun = true;
            let echoed = self.echoed.swap(0, Ordering::Relaxed);
            if frame.rests {
                frame.text = up(1 + echoed);
            }
            (frame.lines, frame.rests) = (false, false);
        }
        frame
    }

    fn add(&self, text: &str) -> io::Result<()> {
        self.frame().text.push_str(text);
        Ok(())
    }

    fn size() -> (u16, u16) {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
        size.map(|size| (size.ws_col, size.ws_row)).filter(|&(columns, lines)| columns > 0 && lines > 0).unwrap_or(SIZE)
    }

    /// The text of the frame, which is over.
    fn end(&self) -> String {
        let mut frame = self.frame();
        let end = if frame.lines { "\r\n" } else { "\u{1b}[J" };
        frame.text.push_str(end);
        (frame.begun, frame.rests) = (false, frame.lines);
        std::mem::take(&mut frame.text)
    }
}

/// Nothing for no lines: terminals take 0 for 1.
fn up(lines: usize) -> String {
    if lines > 0 { format!("\u{1b}[{lines}A") } else { String::new() }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        Self::size().0
    }

    /// Without the line of the cursor.
    fn height(&self) -> u16 {
        Self::size().1.saturating_sub(1).max(1)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.add(&up(n))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.add(&if n > 0 { format!("\u{1b}[{n}B") } else { String::new() })
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.add(&if n > 0 { format!("\u{1b}[{n}C") } else { String::new() })
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.add(&if n > 0 { format!("\u{1b}[{n}D") } else { String::new() })
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(&format!("{text}\r\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut frame = self.frame();
        frame.text.push_str(text);
        frame.lines |= !text.trim_matches('\r').is_empty();
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let text = self.end();
        let mut stderr = io::stderr().lock();
        stderr.write_all(text.as_bytes())?;
        stderr.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as indicatif writes it: up, clear, write.
    fn drawn(screen: &Screen, before: usize, lines: &[&str]) -> String {
        screen.move_cursor_up(before.saturating_sub(1)).unwrap();
        (0..before).for_each(|_| screen.clear_line().unwrap());
        lines.iter().for_each(|line| screen.write_str(line).unwrap());
        screen.end()
    }

    #[test]
    fn a_frame_goes_back_over_what_was_echoed() {
        let (screen, echoed) = Screen::new();
        assert_eq!(drawn(&screen, 0, &["bar"]), "bar\r\n");
        assert_eq!(drawn(&screen, 1, &["bar", "line"]), "\u{1b}[1A\r\u{1b}[2Kbarline\r\n");
        echoed.fetch_add(2, Ordering::Relaxed);
        assert_eq!(drawn(&screen, 2, &["bar"]), "\u{1b}[3A\u{1b}[1A\r\u{1b}[2K\r\u{1b}[2Kbar\r\n");
        assert_eq!(drawn(&screen, 1, &[]), "\u{1b}[1A\r\u{1b}[2K\u{1b}[J", "cleared: the cursor is where the bar was");
        echoed.fetch_add(1, Ordering::Relaxed);
        assert_eq!(drawn(&screen, 0, &["bar"]), "bar\r\n", "without live lines nothing is gone over");
    }
}
