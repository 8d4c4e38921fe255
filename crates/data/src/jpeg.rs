//! Whether a JPEG holds the whole of its picture. Decoders fill what is missing with grey and say nothing, and an end marker proves
//! nothing: a file that was cut may have been ended by a repair tool. So the Huffman codes of every scan are walked, without their
//! values being computed, and its blocks are counted.

/// What the scans of a file hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scans {
    /// Every block of every component.
    Whole,
    /// The same; the file ends behind its last block, without an end marker.
    WholeWithoutEnd,
    /// Coding that is not walked here (arithmetic, lossless) or headers that say nothing: for the decoder to judge.
    Unknown,
}

/// Walks the file.
///
/// # Errors
/// What is missing or damaged, as a phrase.
pub fn scans(bytes: &[u8]) -> Result<Scans, String> {
    let mut walked = 0;
    match walk(bytes, &mut walked) {
        Ok(scans) => Ok(scans),
        // What this module does not know is said by the frame, before the first scan.
        Err(Stop::Unknown) if (1..MOST_SCANS).contains(&walked) => Err("damaged JPEG (its headers make no sense)".to_owned()),
        Err(Stop::Unknown) => Ok(Scans::Unknown),
        Err(Stop::Broken(why)) => Err(why),
    }
}

enum Stop {
    Unknown,
    Broken(String),
}

fn broken<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Broken(why.into()))
}

const NO_END: &str = "truncated JPEG (it has no end marker)";

/// Files with more scans than this are left to the decoder, which has its own limit.
const MOST_SCANS: usize = 200;

/// `walked`: scans that were walked to their end.
fn walk(bytes: &[u8], walked: &mut usize) -> Result<Scans, Stop> {
    let mut state = State::default();
    let mut frame: Option<Frame> = None;
    let mut at = 2;
    // Bytes behind the last block of the last scan, up to the end of the file.
    let mut tail = usize::MAX;
    while let Some((marker, behind)) = marker(bytes, at) {
        at = behind;
        match marker {
            0xD9 => match &frame {
                Some(frame) if frame.complete() => return Ok(Scans::Whole),
                Some(_) => return broken("truncated JPEG (it ends before the last of its scans)"),
                None => return Err(Stop::Unknown),
            },
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let length = bytes.get(at..at + 2).map_or(usize::MAX, |length| usize::from(u16::from_be_bytes([length[0], length[1]])));
        let Some(segment) = bytes.get(at + 2..at.saturating_add(length)) else { return broken(NO_END) };
        at += length;
        match marker {
            0xC4 => state.tables(segment)?,
            0xDD => state.interval = number(segment, 0)?,
            0xC0..=0xC2 if frame.is_none() => frame = Some(Frame::read(segment, marker == 0xC2)?),
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Err(Stop::Unknown),
            0xDA => {
                let frame = frame.as_mut().filter(|_| *walked < MOST_SCANS).ok_or(Stop::Unknown)?;
                let mut bits = Bits { data: &bytes[at..], ..Bits::default() };
                state.scan(frame, segment, &mut bits)?;
                tail = bits.left();
                at += bits.at;
                *walked += 1;
            }
            _ => {}
        }
    }
    // One byte may be the first of an end marker's two.
    let frame = frame.as_ref().filter(|_| tail == 0 || (tail == 1 && bytes.last() == Some(&0xFF)));
    match frame {
        Some(frame) if frame.complete() => Ok(Scans::WholeWithoutEnd),
        _ => broken(NO_END),
    }
}

/// The next marker from `at` on and the place behind it. Stuffed zeros and bytes between segments are passed over.
fn marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xFF)?;
        if bytes[at] != 0 {
            return Some((bytes[at], at + 1));
        }
    }
}

fn byte(segment: &[u8], at: usize) -> Result<usize, Stop> {
    segment.get(at).map(|&byte| usize::from(byte)).ok_or(Stop::Unknown)
}

fn number(segment: &[u8], at: usize) -> Result<usize, Stop> {
    Ok(byte(segment, at)? << 8 | byte(segment, at + 1)?)
}

/// The frame header, and what has been seen of the frame.
struct Frame {
    progressive: bool,
    /// Blocks of the picture if every component is sampled as the finest: across, down.
    wide: usize,
    high: usize,
    components: Vec<Component>,
}

struct Component {
    id: usize,
    /// Blocks in an interleaved unit.
    across: usize,
    down: usize,
    /// Blocks that hold pixels: a scan of this component alone has these.
    wide: usize,
    high: usize,
    /// Blocks in a row of `nonzero`, which has those of whole units.
    stride: usize,
    /// Coefficients of each block that have a value so far, in zigzag order; progressive frames only.
    nonzero: Vec<u64>,
    /// Bits of each coefficient that are still to come.
    missing: [u8; 64],
}

impl Frame {
    fn read(segment: &[u8], progressive: bool) -> Result<Self, Stop> {
        let (height, width) = (number(segment, 1)?, number(segment, 3)?);
        let count = byte(segment, 5)?;
        if height == 0 || width == 0 || !(1..=4).contains(&count) {
            return Err(Stop::Unknown);
        }
        let sampling = |i: usize| Ok((byte(segment, 7 + 3 * i)? >> 4, byte(segment, 7 + 3 * i)? & 15));
        let samplings = (0..count).map(sampling).collect::<Result<Vec<_>, Stop>>()?;
        if samplings.iter().any(|(across, down)| !(1..=4).contains(across) || !(1..=4).contains(down)) {
            return Err(Stop::Unknown);
        }
        let most_across = samplings.iter().map(|sampling| sampling.0).max().unwrap_or(1);
        let most_down = samplings.iter().map(|sampling| sampling.1).max().unwrap_or(1);
        let (wide, high) = (width.div_ceil(8 * most_across), height.div_ceil(8 * most_down));
        let component = |(i, &(across, down)): (usize, &(usize, usize))| {
            let stride = wide * across;
            Ok(Component {
                id: byte(segment, 6 + 3 * i)?,
                across,
                down,
                wide: (width * across).div_ceil(8 * most_across),
                high: (height * down).div_ceil(8 * most_down),
                stride,
                nonzero: if progressive { vec![0; stride * high * down] } else { Vec::new() },
                missing: [u8::MAX; 64],
            })
        };
        let components = samplings.iter().enumerate().map(component).collect::<Result<_, Stop>>()?;
        Ok(Self { progressive, wide, high, components })
    }

    /// All bits of all coefficients have come. The standard lets a progressive file send fewer, but encoders send all: one that
    /// does not was cut between two scans.
    fn complete(&self) -> bool {
        self.components.iter().all(|component| component.missing == [0; 64])
    }
}

/// Tables and settings that later scans use.
#[derive(Default)]
struct State {
    direct: [Option<Box<Codes>>; 4],
    alternating: [Option<Box<Codes>>; 4],
    /// Units between restart markers; 0: none.
    interval: usize,
}

/// How the coefficients of a scan are coded.
#[derive(Clone, Copy)]
enum Coding {
    Sequential,
    FirstDirect,
    RefineDirect,
    First,
    Refine,
}

impl State {
    fn tables(&mut self, mut segment: &[u8]) -> Result<(), Stop> {
        while let Some((&kind, rest)) = segment.split_first() {
            let lengths = rest.get(..16).ok_or(Stop::Unknown)?;
            let symbols: usize = lengths.iter().map(|&count| usize::from(count)).sum();
            let values = rest.get(16..16 + symbols).ok_or(Stop::Unknown)?;
            let tables = if kind >> 4 == 0 { &mut self.direct } else { &mut self.alternating };
            let place = tables.get_mut(usize::from(kind & 15)).ok_or(Stop::Unknown)?;
            *place = Some(Box::new(Codes::new(lengths, values)?));
            segment = &rest[16 + symbols..];
        }
        Ok(())
    }

    fn scan(&self, frame: &mut Frame, header: &[u8], bits: &mut Bits<'_>) -> Result<(), Stop> {
        let count = byte(header, 0)?;
        let (start, end, bits_sent) = (byte(header, 1 + 2 * count)?, byte(header, 2 + 2 * count)?, byte(header, 3 + 2 * count)?);
        // Some encoders fill these in badly where they say nothing.
        let (start, end, bits_sent) = if frame.progressive { (start, end, bits_sent) } else { (0, 63, 0) };
        let (high_bit, low_bit) = (bits_sent >> 4, bits_sent & 15);
        let coding = match (frame.progressive, start, high_bit) {
            (false, ..) => Coding::Sequential,
            (true, 0, 0) => Coding::FirstDirect,
            (true, 0, _) => Coding::RefineDirect,
            (true, _, 0) => Coding::First,
            (true, ..) => Coding::Refine,
        };
        if !(1..=4).contains(&count) || end > 63 || start > end || (frame.progressive && start > 0 && count > 1) {
            return Err(Stop::Unknown);
        }
        // The place of each component in the frame, and its tables.
        let mut parts = Vec::with_capacity(count);
        for i in 0..count {
            let id = byte(header, 1 + 2 * i)?;
            let which = byte(header, 2 + 2 * i)?;
            let place = frame.components.iter().position(|component| component.id == id).ok_or(Stop::Unknown)?;
            let direct = table(&self.direct, which >> 4, matches!(coding, Coding::Sequential | Coding::FirstDirect))?;
            let wanted = matches!(coding, Coding::Sequential | Coding::First | Coding::Refine);
            parts.push((place, direct, table(&self.alternating, which & 15, wanted)?));
        }
        let (wide, high) = match &parts[..] {
            [(place, ..)] => (frame.components[*place].wide, frame.components[*place].high),
            _ => (frame.wide, frame.high),
        };
        let band = Band { coding, start, end };
        let units = wide * high;
        let mut run = 0;
        for unit in 0..units {
            if self.interval > 0 && unit > 0 && unit % self.interval == 0 {
                run = 0;
                if !bits.restart() {
                    return broken(short(unit, units));
                }
            }
            let (row, column) = (unit / wide, unit % wide);
            for (place, direct, alternating) in &parts {
                let component = &mut frame.components[*place];
                let (across, down) = if count == 1 { (1, 1) } else { (component.across, component.down) };
                for y in 0..down {
                    for x in 0..across {
                        let block = (row * down + y) * component.stride + column * across + x;
                        let nonzero = component.nonzero.get_mut(block);
                        match band.block(bits, *direct, *alternating, nonzero, &mut run) {
                            Ok(()) => {}
                            Err(Fault::Short) => return broken(short(unit, units)),
                            Err(Fault::Code) => return broken(format!("damaged JPEG (no such code, {})", part(unit, units))),
                        }
                    }
                }
            }
        }
        if bits.ran_into_zeros() {
            return broken("damaged JPEG (it ends in a hole of zero bytes)");
        }
        for (place, ..) in parts {
            let component = &mut frame.components[place];
            component.missing[start..=end].fill(low_bit as u8);
        }
        Ok(())
    }
}

/// The table of this number, if there is one; an error if it is needed.
fn table(tables: &[Option<Box<Codes>>; 4], number: usize, needed: bool) -> Result<Option<&Codes>, Stop> {
    match tables.get(number) {
        Some(Some(table)) => Ok(Some(table)),
        _ if needed => Err(Stop::Unknown),
        _ => Ok(None),
    }
}

fn short(done: usize, all: usize) -> String {
    format!("truncated JPEG (its data ends {})", part(done, all))
}

fn part(done: usize, all: usize) -> String {
    format!("after {} % of a scan", 100 * done / all)
}

enum Fault {
    /// The data ends.
    Short,
    /// A code that no table has, or a coefficient behind the last.
    Code,
}

/// The coefficients of a scan.
struct Band {
    coding: Coding,
    start: usize,
    end: usize,
}

impl Band {
    /// Passes over one block. `run`: blocks still to come that have no code of their own.
    #[inline]
    fn block(
        &self,
        bits: &mut Bits<'_>,
        direct: Option<&Codes>,
        alternating: Option<&Codes>,
        nonzero: Option<&mut u64>,
        run: &mut u32,
    ) -> Result<(), Fault> {
        match (self.coding, direct, alternating, nonzero) {
            (Coding::Sequential, Some(direct), Some(alternating), _) => {
                bits.direct(direct)?;
                let mut at = 1;
                while at < 64 {
                    let symbol = bits.symbol(alternating)?;
                    let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                    if size == 0 {
                        if zeros < 15 {
                            break;
                        }
                        at += 16;
                    } else {
                        at += zeros + 1;
                        if at > 64 {
                            return Err(Fault::Code);
                        }
                        bits.take(size)?;
                    }
                }
                Ok(())
            }
            (Coding::FirstDirect, Some(direct), ..) => bits.direct(direct),
            (Coding::RefineDirect, ..) => bits.take(1).map(|_| ()),
            (Coding::First, _, Some(codes), Some(nonzero)) => self.first(bits, codes, nonzero, run),
            (Coding::Refine, _, Some(codes), Some(nonzero)) => self.refine(bits, codes, nonzero, run),
            _ => Err(Fault::Code),
        }
    }

    fn first(&self, bits: &mut Bits<'_>, codes: &Codes, nonzero: &mut u64, run: &mut u32) -> Result<(), Fault> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut at = self.start;
        while at <= self.end {
            let symbol = bits.symbol(codes)?;
            let (zeros, size) = (symbol >> 4, u32::from(symbol & 15));
            if size > 0 {
                at += usize::from(zeros);
                if at > self.end {
                    return Err(Fault::Code);
                }
                bits.take(size)?;
                *nonzero |= 1 << at;
                at += 1;
            } else if zeros < 15 {
                *run = (1 << zeros) - 1 + bits.take(u32::from(zeros))?;
                break;
            } else {
                at += 16;
            }
        }
        Ok(())
    }

    fn refine(&self, bits: &mut Bits<'_>, codes: &Codes, nonzero: &mut u64, run: &mut u32) -> Result<(), Fault> {
        let mut at = self.start;
        while *run == 0 && at <= self.end {
            let symbol = bits.symbol(codes)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size > 0 {
                bits.take(1)?;
            } else if zeros < 15 {
                *run = (1 << zeros) + bits.take(u32::from(zeros))?;
                break;
            }
            // A bit for every coefficient on the way that has a value.
            while at <= self.end && (*nonzero >> at & 1 == 1 || zeros > 0) {
                if *nonzero >> at & 1 == 1 {
                    bits.take(1)?;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size > 0 {
                if at > self.end {
                    return Err(Fault::Code);
                }
                *nonzero |= 1 << at;
            }
            at += 1;
        }
        if *run > 0 {
            *run -= 1;
            let rest = if at > self.end { 0 } else { *nonzero >> at << at << (63 - self.end) };
            (0..rest.count_ones()).try_for_each(|_| bits.take(1).map(|_| ()))?;
        }
        Ok(())
    }
}

/// Huffman codes.
#[derive(Clone)]
struct Codes {
    /// By the next [`Codes::SHORT`] bits: length and symbol of the code they begin with; length 0: a longer one.
    short: [(u8, u8); 1 << Self::SHORT],
    /// By length: the first 16-bit word behind the codes of this length.
    behind: [u32; 17],
    /// By length: what turns a code into its place among the symbols.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    const SHORT: u32 = 9;

    /// Of the numbers of codes with lengths 1 to 16, and the symbols in their order.
    fn new(lengths: &[u8], symbols: &[u8]) -> Result<Self, Stop> {
        let mut codes = Self { short: [(0, 0); 1 << Self::SHORT], behind: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(lengths) {
            codes.offset[length as usize] = place as i32 - code as i32;
            for _ in 0..count {
                if length <= Self::SHORT && code < 1 << length {
                    let first = (code << (Self::SHORT - length)) as usize;
                    codes.short[first..first + (1 << (Self::SHORT - length))].fill((length as u8, symbols[place]));
                }
                code += 1;
                place += 1;
            }
            if code > 1 << length {
                return Err(Stop::Unknown);
            }
            codes.behind[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(codes)
    }
}

/// The bits of a scan, up to the next marker.
#[derive(Default)]
struct Bits<'a> {
    data: &'a [u8],
    /// The next byte to take from `data`.
    at: usize,
    /// The next bits, first bit highest, zeros behind the last.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Holds at least 32 bits, unless a marker or the end is nearer.
    #[inline]
    fn fill(&mut self) {
        if let Some((four, _)) = self.data.get(self.at..).and_then(|rest| rest.split_first_chunk::<4>())
            && !four.contains(&0xFF)
        {
            self.held |= u64::from(u32::from_be_bytes(*four)) << (32 - self.count);
            self.count += 32;
            self.at += 4;
            return;
        }
        self.fill_slowly();
    }

    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.data.get(self.at) else { return };
            if byte == 0xFF {
                let Some(zero) = self.data[self.at..].iter().position(|&byte| byte != 0xFF) else { return };
                if self.data[self.at + zero] != 0 {
                    return;
                }
                self.at += zero;
            }
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.at += 1;
        }
    }

    /// The next bits, 16 at most.
    #[inline]
    fn take(&mut self, count: u32) -> Result<u32, Fault> {
        if self.count < count {
            self.fill();
            if self.count < count {
                return Err(Fault::Short);
            }
        }
        let bits = (self.held >> 32 >> (32 - count)) as u32;
        self.held <<= count;
        self.count -= count;
        Ok(bits)
    }

    /// The symbol of the code that is next.
    #[inline]
    fn symbol(&mut self, codes: &Codes) -> Result<u8, Fault> {
        if self.count < 16 {
            self.fill();
        }
        let (mut length, mut symbol) = codes.short[(self.held >> (64 - Codes::SHORT)) as usize];
        if length == 0 {
            let word = (self.held >> 48) as u32;
            let Some(found) = (Codes::SHORT as usize + 1..=16).find(|&length| word < codes.behind[length]) else {
                return Err(if self.count < 16 { Fault::Short } else { Fault::Code });
            };
            let place = (word >> (16 - found)) as i32 + codes.offset[found];
            symbol = *codes.symbols.get(place as usize).ok_or(Fault::Code)?;
            length = found as u8;
        }
        self.take(u32::from(length))?;
        Ok(symbol)
    }

    /// Passes over the first coefficient of a block.
    #[inline]
    fn direct(&mut self, codes: &Codes) -> Result<(), Fault> {
        match self.symbol(codes)? {
            size @ 0..=16 => self.take(u32::from(size)).map(|_| ()),
            _ => Err(Fault::Code),
        }
    }

    /// Passes over the restart marker that is next; false: there is none before another marker or the end.
    fn restart(&mut self) -> bool {
        (self.held, self.count) = (0, 0);
        match marker(self.data, self.at) {
            Some((0xD0..=0xD7, behind)) => {
                self.at = behind;
                true
            }
            _ => false,
        }
    }

    /// Where the bits that have been taken end. Exact unless a stuffed byte is held.
    fn end(&self) -> usize {
        self.at - (self.count / 8) as usize
    }

    /// Bytes that have not been taken, up to the end of the file.
    fn left(&self) -> usize {
        self.data.len() - self.end()
    }

    /// Zeros before the end of what was taken go on behind it: blocks were made of a hole in the file.
    fn ran_into_zeros(&self) -> bool {
        const BEFORE: usize = 4;
        const BEHIND: usize = 8;
        let end = self.end();
        end >= BEFORE && self.data.get(end - BEFORE..end + BEHIND).is_some_and(|zeros| zeros.iter().all(|&byte| byte == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] = [
        "rgb.jpg",
        "rgb-420.jpg",
        "grey.jpg",
        "turned.jpg",
        "restart.jpg",
        "optimal.jpg",
        "progressive-420.jpg",
        "progressive-grey.jpg",
        "cmyk.jpg",
    ];

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(std::path::Path::new("../../tests/oracle/images").join(name)).unwrap()
    }

    fn ended(part: &[u8]) -> Vec<u8> {
        [part, &[0xFF, 0xD9]].concat()
    }

    #[test]
    fn whole_files_are_whole_whatever_follows_them() {
        for name in NAMES {
            let whole = fixture(name);
            assert_eq!(scans(&whole), Ok(Scans::Whole), "{name}");
            for rubbish in [&b"\0\0\0\0"[..], b"<html>", b"\xFF\xD8\xFF\xDA", &whole] {
                assert_eq!(scans(&[&whole, rubbish].concat()), Ok(Scans::Whole), "{name}");
            }
            let without = &whole[..whole.len() - 2];
            assert_eq!(scans(without), Ok(Scans::WholeWithoutEnd), "{name}");
            assert_eq!(scans(&ended(&[without, &[0; 40]].concat())), Ok(Scans::Whole), "{name}: padded");
        }
    }

    /// A file cut anywhere is found, whatever was put behind it: an end marker, zeros, ones.
    #[test]
    fn a_cut_is_found_wherever_it_is() {
        for name in NAMES {
            let whole = fixture(name);
            let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
            let start = scan + 2 + usize::from(whole[scan + 3]);
            for cut in 3..whole.len() - 2 {
                let part = &whole[..cut];
                assert!(scans(part).is_err(), "{name} cut at {cut} of {}", whole.len());
                if cut > start {
                    assert!(scans(&ended(part)).is_err(), "{name} cut at {cut} of {} and ended", whole.len());
                    assert!(scans(&[part, &[0; 4000]].concat()).is_err(), "{name}: zeros from {cut} on");
                    assert!(scans(&ended(&[part, &[0xFF; 100]].concat())).is_err(), "{name}: ones from {cut} on");
                }
            }
            for cut in (start + 20..whole.len() - 60).step_by(7) {
                assert!(scans(&ended(&[&whole[..cut], &[0; 4096]].concat())).is_err(), "{name}: a hole of zeros at {cut}");
            }
        }
    }

    /// What is missing between two restart markers is found, though the rest of the file is there.
    #[test]
    fn a_lost_stretch_between_restarts_is_found() {
        let whole = fixture("restart.jpg");
        let restarts: Vec<usize> = whole
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair[0] == 0xFF && (0xD0..0xD8).contains(&pair[1]))
            .map(|(at, _)| at)
            .collect();
        assert!(restarts.len() > 2);
        for pair in restarts.windows(2) {
            assert!(scans(&[&whole[..pair[0]], &whole[pair[1]..]].concat()).is_err());
            assert!(scans(&[&whole[..pair[0] + 8], &whole[pair[1]..]].concat()).is_err());
        }
    }

    #[test]
    fn what_is_no_jpeg_for_us_is_left_to_the_decoder() {
        assert_eq!(scans(b"\xFF\xD8\xFF\xD9"), Ok(Scans::Unknown));
        let mut arithmetic = fixture("rgb.jpg");
        let frame = arithmetic.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        arithmetic[frame + 1] = 0xC9;
        assert_eq!(scans(&arithmetic), Ok(Scans::Unknown));
    }

    #[test]
    fn damage_never_panics() {
        let mut rng = imbalance::rng::Rng::new(0, "test jpeg damage", &[]);
        for name in NAMES {
            let whole = fixture(name);
            for _ in 0..400 {
                let mut bytes = whole.clone();
                for _ in 0..1 + rng.below(6) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.next_u32() as u8;
                }
                // A frame of 65535 x 65535 is refused before it comes here.
                if let Some(frame) = bytes.windows(2).position(|pair| matches!(pair, [0xFF, 0xC0..=0xC2]))
                    && let Some(size) = bytes.get_mut(frame + 5..frame + 9)
                {
                    (size[0], size[2]) = (0, 0);
                }
                let _ = scans(&bytes);
            }
        }
    }
}
