//! Folders of pictures, read, refused and divided.

use super::*;
use crate::{Dataset, prepare as prepare_any};
use imbalance::stratification::SplitConfig;
use plan::{DataConfig, DataFacts, Source};

fn config(on_bad_image: &str) -> DataConfig {
    DataConfig {
        source: Source::Images {
            root: "photos".into(),
            labels: "labels.csv".into(),
            image: ImageConfig {
                size: 8,
                channels: 3,
                resize: "stretch".to_owned(),
                normalize: "imagenet".to_owned(),
                flip: true,
                crop_padding: 1,
                on_bad_image: on_bad_image.to_owned(),
                max_pixels: 1 << 20,
                transparency: "drop".to_owned(),
                pixel_range: "full".to_owned(),
            },
            columns: Columns::default(),
        },
        split: SplitConfig { train: 0.6, val: 0.2, test: 0.2, method: "iterative".to_owned(), seed: 0 },
    }
}

/// 40 grey images, each of one shade; labels alternate.
fn photos() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("photos/sub folder")).unwrap();
    let mut csv = String::from("image,\"N/A, or \"\"none\"\"\",b-c\n");
    for row in 0..40u8 {
        let name = if row % 2 == 0 { format!("{row}.png") } else { format!("sub folder/{row}.png") };
        image::GrayImage::from_pixel(10, 12, image::Luma([row * 5])).save(folder.path().join("photos").join(&name)).unwrap();
        csv.push_str(&format!("{name},{},{}\n", row % 2, row / 2 % 2));
    }
    std::fs::write(folder.path().join("labels.csv"), csv).unwrap();
    folder
}

fn prepared(folder: &tempfile::TempDir, on_bad_image: &str) -> Result<DataFacts, String> {
    let cache = folder.path().join("cache");
    prepare_any(&config(on_bad_image), folder.path(), &cache, &|_, _| {})
        .map(|data| data.facts)
        .map_err(|error| error.to_string())
}

fn table(folder: &tempfile::TempDir, csv: &str) -> Table {
    crate::table::read(&folder.path().join(csv), &Columns::default(), crate::table::Called::Keys, crate::Ids::Pictures).unwrap()
}

/// Prepared with these keys.
fn opened(folder: &tempfile::TempDir, transparency: &str, pixel_range: &str) -> Dataset {
    let mut config = config("error");
    if let Source::Images { image, .. } = &mut config.source {
        image.transparency = transparency.to_owned();
        image.pixel_range = pixel_range.to_owned();
    }
    let facts = prepare_any(&config, folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap().facts;
    Dataset::open(&facts.folder, &config).unwrap()
}

/// What the content was before there were such keys.
fn plain_content(folder: &tempfile::TempDir, data: &Dataset) -> String {
    let mut content = blake3::Hasher::new();
    for id in data.ids().unwrap() {
        let file = std::fs::read(folder.path().join("photos").join(id)).unwrap();
        content.update(blake3::hash(&file).as_bytes());
    }
    content.finalize().to_hex().to_string()
}

#[test]
fn transparency_changes_the_content_of_pictures_that_have_some() {
    let folder = photos();
    for how in ["drop", "black", "white"] {
        let data = opened(&folder, how, "full");
        assert_eq!(data.opened.meta.content, plain_content(&folder, &data), "{how}");
    }
    image::RgbaImage::from_pixel(8, 8, image::Rgba([200, 100, 0, 51])).save(folder.path().join("photos/4.png")).unwrap();
    let [drop, black, white] = ["drop", "black", "white"].map(|how| opened(&folder, how, "full"));
    assert_eq!(black.opened.meta.content, plain_content(&folder, &black), "as it was taken before there was a choice");
    assert_ne!(drop.opened.meta.content, black.opened.meta.content);
    assert_ne!(drop.opened.meta.content, white.opened.meta.content);
    for (data, red) in [(drop, 200), (black, 40), (white, 244)] {
        assert_eq!(data.bytes()[4 * 192], red);
    }
}

#[test]
fn the_range_is_that_of_the_whole_data_set() {
    let folder = photos();
    let deep = |name: &str, value: u16| {
        let image = image::ImageBuffer::<image::Luma<u16>, _>::from_pixel(9, 9, image::Luma([value]));
        image.save(folder.path().join("photos").join(name)).unwrap();
    };
    let used = opened(&folder, "drop", "used");
    assert_eq!(used.opened.meta.content, plain_content(&folder, &used), "no picture of 16 bits");
    deep("2.png", 3000);
    deep("4.png", 300);
    let [full, used] = ["full", "used"].map(|range| opened(&folder, "drop", range));
    assert_eq!(full.opened.meta.content, plain_content(&folder, &full));
    assert_ne!(used.opened.meta.content, full.opened.meta.content);
    let greys = |data: &Dataset| [2, 3, 4].map(|row| data.bytes()[row * 192]);
    assert_eq!(greys(&full), [12, 15, 1]);
    assert_eq!(greys(&used), [187, 15, 19], "one factor for both, none for the picture of 8 bits");
    deep("4.png", 50_000);
    let used = opened(&folder, "drop", "used");
    assert_eq!(used.opened.meta.content, plain_content(&folder, &used), "all of the range is used");
}

#[test]
fn doubts_count_and_name_the_key() {
    let Source::Images { image, .. } = config("error").source else { panic!() };
    let doubts = |pictures: &[(bool, Option<u16>)], pixel_range: &str| {
        let mut seen = Seen::default();
        for &(transparent, largest) in pictures {
            seen.add(&Picture { pixels: Vec::new(), transparent, largest });
        }
        seen.doubts(&ImageConfig { pixel_range: pixel_range.to_owned(), ..image.clone() }).join("\n")
    };
    assert_eq!(doubts(&[(false, None), (false, Some(60_000))], "full"), "");
    let said = doubts(&[(true, None), (true, Some(60_000)), (false, None)], "full");
    assert!(
        said.starts_with("2 images have pixels that are not opaque") && said.contains("data.transparency = \"drop\""),
        "{said}"
    );
    let said = doubts(&[(false, Some(4000)), (false, Some(100))], "full");
    assert!(
        said.contains("the 2 images of 16 bits is above 4000, which becomes 16 of 255") && said.contains("makes 4095 white"),
        "{said}"
    );
    assert_eq!(doubts(&[(false, Some(4000))], "used"), "");
    for range in ["full", "used"] {
        let said = doubts(&[(false, Some(4000)), (false, Some(65_535)), (false, Some(255))], range);
        assert!(said.contains("2 of the 3 images of 16 bits have no value above 4000") && said.contains("reach 65535"), "{said}");
    }
}

fn folders(folder: &tempfile::TempDir) -> usize {
    let entries = std::fs::read_dir(folder.path().join("cache")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

#[test]
fn images_are_decoded_once_and_their_content_counts() {
    let folder = photos();
    let facts = prepared(&folder, "error").unwrap();
    assert_eq!(facts.input, InputShape::Image { channels: 3, height: 8, width: 8 });
    assert_eq!(facts.labels, ["N/A, or \"none\"", "b-c"]);
    assert_eq!(prepared(&folder, "error").unwrap(), facts);
    assert_eq!(folders(&folder), 1);
    let data = Dataset::open(&facts.folder, &config("error")).unwrap();
    let mut out = vec![0.0; 192];
    data.gather(&[7], None, &mut out);
    for (channel, (mean, deviation)) in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)].into_iter().enumerate() {
        let want = (35.0 / 255.0 - mean) / deviation;
        assert!(out[channel * 64..(channel + 1) * 64].iter().all(|x| (x - want).abs() < 1e-5));
    }
    // The same images elsewhere, under other names: the same content.
    let moved = photos();
    std::fs::rename(moved.path().join("photos/0.png"), moved.path().join("photos/zero.png")).unwrap();
    let csv = std::fs::read_to_string(moved.path().join("labels.csv")).unwrap();
    std::fs::write(moved.path().join("labels.csv"), csv.replacen("\n0.png", "\nzero.png", 1)).unwrap();
    assert_eq!(prepared(&moved, "error").unwrap().content, facts.content);
    // One changed image: another.
    image::GrayImage::from_pixel(10, 12, image::Luma([200])).save(folder.path().join("photos/4.png")).unwrap();
    assert_ne!(prepared(&folder, "error").unwrap().content, facts.content);
}

fn spoil(folder: &tempfile::TempDir) {
    let photos = folder.path().join("photos");
    std::fs::write(photos.join("2.png"), b"").unwrap();
    std::fs::write(photos.join("4.png"), b"not an image").unwrap();
    let whole = std::fs::read(photos.join("6.png")).unwrap();
    std::fs::write(photos.join("6.png"), &whole[..whole.len() - 16]).unwrap();
    std::fs::remove_file(photos.join("8.png")).unwrap();
}

#[test]
fn bad_files_stop_with_all_of_them_listed() {
    let folder = photos();
    spoil(&folder);
    let error = prepared(&folder, "error").unwrap_err();
    assert!(error.contains("labels.csv: 4 of 40 images cannot be used:"), "{error}");
    for line in [
        "line 4: 2.png: empty file",
        "line 6: 4.png: text, not a picture (\"not an image\")",
        "line 8: 6.png: corrupt",
        "line 10: 8.png: there is no such file",
    ] {
        assert!(error.contains(line), "{error}");
    }
    assert!(error.contains("on_bad_image = \"skip\""));
    assert_eq!(folders(&folder), 0, "nothing half-written is left");
    for row in (0..40).filter(|row| row % 2 == 1) {
        std::fs::write(folder.path().join(format!("photos/sub folder/{row}.png")), b"").unwrap();
    }
    let error = prepared(&folder, "error").unwrap_err();
    assert!(error.contains("24 of 40 images") && error.contains("and 4 more"), "{error}");
    assert_eq!(error.lines().filter(|line| line.starts_with("  line")).count(), 20);
}

#[test]
fn bad_files_are_left_out_and_recorded_if_asked() {
    let folder = photos();
    spoil(&folder);
    let facts = prepared(&folder, "skip").unwrap();
    assert_eq!(facts.train.rows + facts.val.rows + facts.test.rows, 36);
    let data = Dataset::open(&facts.folder, &config("skip")).unwrap();
    let skipped: Vec<&str> = data.skipped().iter().map(|skipped| skipped.id.as_str()).collect();
    assert_eq!(skipped, ["2.png", "4.png", "6.png", "8.png"]);
    assert!(data.skipped()[3].reason.contains("no such file"));
    // Row 2 is now the former row 3.
    assert_eq!(data.ids().unwrap()[2], "sub folder/3.png");
    assert_eq!(data.labels().row(2), [1, 1]);
    let mut out = vec![0.0; 192];
    data.gather(&[2], None, &mut out);
    assert!((out[0] - (15.0 / 255.0 - 0.485) / 0.229).abs() < 1e-5);
}

#[test]
fn a_wrong_root_and_an_unusable_cache_say_so() {
    let folder = photos();
    std::fs::rename(folder.path().join("photos"), folder.path().join("elsewhere")).unwrap();
    let error = prepared(&folder, "skip").unwrap_err();
    assert!(error.contains("none of the 40 images can be read") && error.contains("data.root"), "{error}");
    std::fs::rename(folder.path().join("elsewhere"), folder.path().join("photos")).unwrap();
    std::fs::write(folder.path().join("cache"), "a file").unwrap();
    let error = prepared(&folder, "error").unwrap_err();
    assert!(error.contains("cache: cannot write prepared data into this folder"), "{error}");
}

/// The photos with some rows more, divided by `seed`: the split of each row, or why it is refused.
fn divided(folder: &tempfile::TempDir, more: &str, group: bool, seed: u64) -> Result<Vec<(String, u8)>, String> {
    let csv = std::fs::read_to_string(folder.path().join("labels.csv")).unwrap() + more;
    std::fs::write(folder.path().join("more.csv"), csv).unwrap();
    let mut config = config("error");
    config.split.seed = seed;
    if let Source::Images { labels, columns, .. } = &mut config.source {
        *labels = "more.csv".into();
        columns.group_duplicates = group;
    }
    let facts = prepare_any(&config, folder.path(), &folder.path().join("cache"), &|_, _| {});
    let facts = facts.map_err(|error| error.to_string())?.facts;
    let data = Dataset::open(&facts.folder, &config).unwrap();
    let ids = data.ids().unwrap();
    let parts = [&data.split().train, &data.split().val, &data.split().test];
    let of = |(part, rows): (u8, &Vec<u32>)| rows.iter().map(|&row| (ids[row as usize].clone(), part)).collect::<Vec<_>>();
    Ok((0u8..).zip(parts).flat_map(of).collect())
}

#[test]
fn a_picture_of_several_rows_is_refused_or_stays_in_one_split() {
    let folder = photos();
    for more in ["4.png,0,0\n", "./4.png,0,0\n", "sub folder/../4.png,1,1\n", "x\\..\\4.png,0,0\n"] {
        let error = divided(&folder, more, false, 0).unwrap_err();
        assert!(
            error.contains("1 pictures have more than one row (2 rows; `4.png` is in line 6 and in line 42)"),
            "{more}: {error}"
        );
        assert_eq!(error.contains("contradict each other"), more.contains("1,1"), "{error}");
    }
    // Every second picture again, and half of these under another name; in each division a picture lies in one split.
    let mut more = String::new();
    for row in (0..40).step_by(2) {
        if row % 4 == 0 {
            let photos = folder.path().join("photos");
            std::fs::copy(photos.join(format!("{row}.png")), photos.join(format!("copy{row}.png"))).unwrap();
            more += &format!("copy{row}.png,0,{}\n", row / 2 % 2);
        } else {
            more += &format!("{row}.png,1,{}\n", row / 2 % 2);
        }
    }
    for seed in 0..10 {
        let mut of: HashMap<String, HashSet<u8>> = HashMap::new();
        for (id, part) in divided(&folder, &more, true, seed).unwrap() {
            of.entry(id.replace("copy", "")).or_default().insert(part);
        }
        assert_eq!(of.len(), 40);
        assert!(of.values().all(|parts| parts.len() == 1), "seed {seed}: {of:?}");
    }
}

#[test]
fn files_without_a_row_are_found() {
    let folder = photos();
    let root = folder.path().join("photos");
    std::fs::copy(root.join("0.png"), root.join("sub folder/extra.PNG")).unwrap();
    std::fs::copy(root.join("0.png"), root.join("b.webp")).unwrap();
    std::fs::copy(root.join("0.png"), root.join("c.TIF")).unwrap();
    for other in ["notes.txt", "Thumbs.db", ".DS_Store", "._0.png", ".hidden/1.png", "__MACOSX/sub/2.png"] {
        std::fs::create_dir_all(root.join(other).parent().unwrap()).unwrap();
        std::fs::write(root.join(other), "no image of ours").unwrap();
    }
    let table = table(&folder, "labels.csv");
    assert_eq!(
        unlisted(&root, &spelled::files(&root, &table.ids)),
        (3, ["b.webp", "c.TIF", "sub folder/extra.PNG"].map(str::to_owned).to_vec())
    );
}

#[test]
fn images_outside_of_the_root_are_counted() {
    let folder = photos();
    let root = folder.path().join("photos");
    let found = |csv: &str| {
        std::fs::write(folder.path().join("some.csv"), csv).unwrap();
        let table = table(&folder, "some.csv");
        outside(&root, &table, &spelled::files(&root, &table.ids))
    };
    assert_eq!(found("image,A\n0.png,1\nsub folder/../2.png,0\n./4.png,1\nmissing/x.png,0\n").0, 0);
    std::fs::create_dir(folder.path().join("private")).unwrap();
    std::fs::copy(root.join("0.png"), folder.path().join("private/0.png")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("private/0.png"), root.join("link.png")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("private"), root.join("linked")).unwrap();
    std::os::unix::fs::symlink(root.join("2.png"), root.join("inside.png")).unwrap();
    let absolute = folder.path().join("private/0.png").display().to_string();
    let csv = format!("image,A\n0.png,1\n../private/0.png,0\n{absolute},1\nlink.png,1\nlinked/0.png,1\ninside.png,0\n");
    assert_eq!(found(&csv), (4, "../private/0.png".to_owned()));
}

#[test]
fn random_changes_depend_on_seed_epoch_and_row_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    let mut csv = String::from("image,A\n");
    for row in 0..20u32 {
        image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 16 + y + 100) as u8]))
            .save(folder.path().join(format!("photos/{row}.png")))
            .unwrap();
        csv.push_str(&format!("{row}.png,{}\n", row % 2));
    }
    std::fs::write(folder.path().join("labels.csv"), csv).unwrap();
    let facts = prepared(&folder, "error").unwrap();
    let data = Dataset::open(&facts.folder, &config("error")).unwrap();
    let gather = |rows: &[u32], augment| {
        let mut out = vec![0.0f32; rows.len() * 192];
        data.gather(rows, augment, &mut out);
        out.chunks(192).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let rows: Vec<u32> = (0..20).collect();
    let first = gather(&rows, Some((5, 1)));
    let back: Vec<u32> = rows.iter().rev().copied().collect();
    let mut again = gather(&back, Some((5, 1)));
    again.reverse();
    assert_eq!(first, again);
    assert_ne!(first, gather(&rows, Some((5, 2))));
    assert_ne!(first, gather(&rows, Some((6, 1))));
    let plain = gather(&rows, None);
    assert!(plain.windows(2).all(|pair| pair[0] == pair[1]), "all images are the same");
    // Each is the plain image, mirrored or not, shifted by at most one pixel with black coming in.
    let black = (0.0 - 0.485) / 0.229;
    let pixel = |x: i32, y: i32| if (0..8).contains(&x) && (0..8).contains(&y) { plain[0][(y * 8 + x) as usize] } else { black };
    let mut seen = std::collections::BTreeSet::new();
    for image in gather(&rows, Some((0, 0))).iter().chain(&first) {
        let found = [false, true]
            .iter()
            .flat_map(|flip| (-1..=1).flat_map(move |dx| (-1..=1).map(move |dy| (*flip, dx, dy))))
            .find(|(flip, dx, dy)| {
                (0..64).all(|i| {
                    let (x, y) = (i % 8, i / 8);
                    let x = if *flip { 7 - x } else { x };
                    (image[i as usize] - pixel(x + dx, y + dy)).abs() < 1e-5
                })
            });
        seen.insert(found.expect("a mirrored and shifted copy"));
    }
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn real_images_are_read() {
    for (name, rows, labels, channels) in [("bccd", 364, 3, 3), ("multidigits", 3200, 10, 1), ("chest64", 1000, 14, 1)] {
        let folder = Path::new("../shared/data").join(name);
        if !folder.is_dir() {
            eprintln!("skipped: no {}", folder.display());
            continue;
        }
        let cache = tempfile::tempdir().unwrap();
        let mut config = config("error");
        if let Source::Images { root, image, .. } = &mut config.source {
            *root = "images".into();
            image.size = 32;
            image.channels = channels;
        }
        let facts = prepare_any(&config, &folder, cache.path(), &|_, _| {}).unwrap().facts;
        assert_eq!(facts.labels.len(), labels, "{name}");
        assert_eq!(facts.train.rows + facts.val.rows + facts.test.rows, rows);
        let data = Dataset::open(&facts.folder, &config).unwrap();
        let some: Vec<u32> = (0..20).collect();
        let mut out = vec![0.0; some.len() * 32 * 32 * channels as usize];
        data.gather(&some, None, &mut out);
        let (low, high) = out.iter().fold((f32::MAX, f32::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
        assert!(high - low > 0.5, "{name}: images have contrast");
    }
}
