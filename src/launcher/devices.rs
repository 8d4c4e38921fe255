//! Devices → places: where workers run and with how many threads. Reads the driver's files, never links or calls CUDA.

use std::fs;

use crate::error::Error;

/// A place for one worker on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads of its worker.
    pub threads: usize,
}

impl Place {
    /// `2 x cpu (1 thread each)`.
    #[must_use]
    pub fn words(places: &[Self]) -> String {
        let mut kinds: Vec<(&Self, usize)> = Vec::new();
        for place in places {
            match kinds.iter_mut().find(|(kind, _)| *kind == place) {
                Some((_, count)) => *count += 1,
                None => kinds.push((place, 1)),
            }
        }
        let words = |(Self { device, threads }, count): &(&Self, usize)| {
            let (times, each) = if *count > 1 { (format!("{count} x "), " each") } else { (String::new(), "") };
            format!("{times}{device} ({threads} thread{}{each})", if *threads == 1 { "" } else { "s" })
        };
        kinds.iter().map(words).collect::<Vec<_>>().join(", ")
    }
}

/// `per_device` places on each of `devices`; `auto` is every CUDA device of a CUDA build, else the CPU.
/// The cores are divided between the workers on the CPU; a CUDA worker gets its share of them for loading data.
///
/// # Errors
/// Not a device name; a CUDA device in a build without CUDA.
pub fn places(devices: &[String], per_device: usize) -> Result<Vec<Place>, Error> {
    places_of(devices, per_device, std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// [`places()`] where there are `cores` cores for them.
///
/// # Errors
/// The errors of [`places()`].
pub fn places_of(devices: &[String], per_device: usize, cores: usize) -> Result<Vec<Place>, Error> {
    divide(&named(devices, !cfg!(feature = "worker"), cuda_devices())?, per_device, cores)
}

fn named(devices: &[String], cuda_build: bool, present: usize) -> Result<Vec<String>, Error> {
    let mut named = Vec::new();
    for device in devices.iter().map(|device| device.trim()) {
        match device {
            "auto" if cuda_build && present > 0 => named.extend((0..present).map(|index| format!("cuda:{index}"))),
            "auto" | "cpu" => named.push("cpu".to_owned()),
            _ => {
                let number = device.strip_prefix("cuda:").and_then(|number| number.parse::<usize>().ok());
                let Some(number) = number else {
                    return Err(Error::Usage(format!("device `{device}`: a device is cpu, cuda:N (N = 0, 1, ...) or auto")));
                };
                if !cuda_build {
                    let words = "this sweep trains on the CPU by itself; docs/cuda.md says how to build the one for CUDA";
                    return Err(Error::Usage(format!("device `{device}`: {words}")));
                }
                if number >= present {
                    return Err(Error::Usage(format!("device `{device}`: this machine has {present} CUDA devices")));
                }
                named.push(format!("cuda:{number}"));
            }
        }
    }
    if named.is_empty() {
        return Err(Error::Usage("no device: name cpu, cuda:N or auto".to_owned()));
    }
    Ok(named)
}

fn divide(devices: &[String], per_device: usize, cores: usize) -> Result<Vec<Place>, Error> {
    if per_device == 0 {
        return Err(Error::Usage("workers.per_device must be at least 1".to_owned()));
    }
    let threads = (cores / (devices.len() * per_device)).max(1);
    // The first worker of every device, then the second: few runs spread over all devices.
    let place = |device: &String| Place { device: device.clone(), threads };
    Ok((0..per_device).flat_map(|_| devices.iter().map(place)).collect())
}

/// CUDA devices that a worker would see, by the driver's own listing.
fn cuda_devices() -> usize {
    let listed = fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |entries| entries.flatten().count());
    let is_device =
        |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    let nodes = || {
        let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_str().is_some_and(is_device)).count()
    };
    let present = if listed > 0 { listed } else { nodes() };
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => present.min(visible.split(',').filter(|name| !matches!(name.trim(), "" | "-1")).count()),
        Err(_) => present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(devices: &[&str]) -> Vec<String> {
        devices.iter().map(|&device| device.to_owned()).collect()
    }

    #[test]
    fn auto_is_every_cuda_device_else_the_cpu() {
        assert_eq!(named(&list(&["auto"]), true, 2).unwrap(), ["cuda:0", "cuda:1"]);
        assert_eq!(named(&list(&["auto"]), true, 0).unwrap(), ["cpu"]);
        assert_eq!(named(&list(&["auto"]), false, 2).unwrap(), ["cpu"]);
        assert_eq!(named(&list(&["cpu", "cuda:1"]), true, 2).unwrap(), ["cpu", "cuda:1"]);
    }

    #[test]
    fn what_is_no_device_is_refused_with_what_would_be_right() {
        for (device, build, present, expected) in [
            ("gpu", true, 1, "cuda:N"),
            ("cuda:x", true, 1, "cuda:N"),
            ("cuda:0", false, 1, "docs/cuda.md"),
            ("cuda:1", true, 1, "1 CUDA devices"),
        ] {
            let message = named(&list(&[device]), build, present).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn places_read_well() {
        let place = |device: &str, threads| Place { device: device.to_owned(), threads };
        assert_eq!(Place::words(&[place("cpu", 1), place("cpu", 1)]), "2 x cpu (1 thread each)");
        assert_eq!(Place::words(&[place("cuda:0", 8), place("cuda:1", 8)]), "cuda:0 (8 threads), cuda:1 (8 threads)");
    }

    #[test]
    fn cores_are_divided_and_never_none() {
        let threads = |devices: usize, per_device, cores| {
            let places = divide(&vec!["cpu".to_owned(); devices], per_device, cores).unwrap();
            assert_eq!(places.len(), devices * per_device);
            places[0].threads
        };
        assert_eq!(threads(1, 1, 8), 8);
        assert_eq!(threads(1, 3, 8), 2);
        assert_eq!(threads(2, 4, 2), 1);
        assert!(divide(&list(&["cpu"]), 0, 2).is_err());
    }
}
