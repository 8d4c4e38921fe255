//! Tables as they are written, and what is made of them.

use std::fmt::Write as _;

use super::text::{MOST_CELL, MOST_ROW};
use super::*;
use plan::{NO_COLUMN, Unknown};
use proptest::prelude::*;

fn parse(text: impl AsRef<[u8]>, columns: &Columns) -> Result<Table, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.csv");
    std::fs::write(&file, text).unwrap();
    read(&file, columns, Called::Keys, Ids::Rows).map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
}

fn fails(text: &str, message: &str) {
    let error = parse(text, &Columns::default()).unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[test]
fn names_of_any_kind_work() {
    let text = "\u{feff}image,split,\"Pleural, Thickening\",N/A,\"the \"\"big\"\" one\",Brown Creeper,a-b/c,é\n\
                x/1.png,train,1,0,1,0,1,0\n\"y, 2.png\",valid,0,1,0.0,1.0,TRUE,False\n";
    let table = parse(text, &Columns::default()).unwrap();
    assert_eq!(&*table.labels.names, ["Pleural, Thickening", "N/A", "the \"big\" one", "Brown Creeper", "a-b/c", "é"]);
    assert_eq!(table.ids, ["x/1.png", "y, 2.png"]);
    assert_eq!(table.labels.values, [1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0]);
    assert_eq!(table.splits, Some(vec![0, 1]));
    assert_eq!(table.lines, [2, 3]);
}

#[test]
fn columns_are_what_the_file_says() {
    let columns = Columns {
        path: Some("file".to_owned()),
        split: Some("fold".to_owned()),
        group: Some("patient".to_owned()),
        ignore: vec!["age".to_owned()],
        ..Columns::default()
    };
    let table =
        parse("A,file,patient,age,fold,split\n1,a.png,p2,70,test,0\n0,b.png,p1,,train,1\n1,c.png,p2,71,test,1\n", &columns)
            .unwrap();
    assert_eq!(&*table.labels.names, ["A", "split"]);
    assert_eq!((table.groups, table.group_names), (Some(vec![0, 1, 0]), vec!["p2".to_owned(), "p1".to_owned()]));
    assert_eq!(table.splits, Some(vec![2, 0, 2]));
    let ignored = Columns { ignore: vec!["split".to_owned()], ..Columns::default() };
    assert_eq!(parse("id,split,A\na,nonsense,1\n", &ignored).unwrap().splits, None);
    let missing = Columns { group: Some("patent".to_owned()), ..Columns::default() };
    let error = parse("id,patient,A\na,x,1\n", &missing).unwrap_err();
    assert!(error.starts_with("FILE:1: there is no column `patent`") && error.contains("did you mean `patient`?"), "{error}");
    let twice = Columns { group: Some("A".to_owned()), ignore: vec!["A".to_owned()], ..Columns::default() };
    assert!(parse("id,A,B\na,x,1\n", &twice).unwrap_err().contains("name the column `A` twice"));
}

#[test]
fn wrong_tables_are_refused_with_their_line() {
    fails("image,A,A\nx,1,0\n", "FILE:1: columns 2 and 3 are both named `A`");
    fails("image,A,\nx,1,0\n", "FILE:1: column 3 has no name");
    fails("image,split\nx,train\n", "FILE:1: there is no label column");
    fails("image,A\nx,1\ny,2\n", "FILE:3: column `A`: `2` must be 0 or 1");
    fails("image,A\nx,0.5\n", "FILE:2: column `A`: `0.5` must be 0 or 1");
    fails("image,A\nx,nan\n", "`nan` must be 0 or 1");
    fails("image,A,B\nx,1,\n", "FILE:2: column `B`: an empty cell must be 0 or 1");
    fails("image,A,B\nx,1,0\ny,1\n", "FILE:3: 2 fields instead of the header's 3");
    fails("image,split,A\nx,dev,1\n", "FILE:2: column `split`: `dev` must be train, val");
    fails("image,A\n,1\n", "FILE:2: column `image`: an empty cell must be a path");
    fails("image,A\n", "FILE: there is no row below the header");
    fails("", "FILE:1: the file is empty");
    assert!(parse(b"image,A\n\xff\xfe,1\n", &Columns::default()).unwrap_err().contains("FILE:2: not UTF-8"));
    assert!(parse(b"image,A\nx\0,1\n", &Columns::default()).unwrap_err().contains("FILE:2: column 1: `x\\u{0}` has a NUL byte"));
    let error = read(Path::new("/nonexistent/labels.csv"), &Columns::default(), Called::Keys, Ids::Rows).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/labels.csv: cannot read the labels"), "{error}");
}

#[test]
fn what_is_no_table_is_refused_before_it_fills_the_memory() {
    let many: String = (0..=MOST_LABELS).map(|label| format!(",{label}")).collect();
    fails(&format!("id{many}\n"), "FILE:1: 10001 label columns, and a data set may have 10000");
    let cell = |bytes: usize| format!("id,A\nx,0\n{},1\n", "c".repeat(bytes));
    fails(&cell(MOST_CELL + 1), "FILE:3: column 1: a cell of 1048577 bytes; at most 1 MiB");
    fails(&cell(MOST_ROW as usize + (1 << 16)), "FILE:3: one row has more than 16 MiB");
    fails(&"\0".repeat(MOST_ROW as usize + (1 << 16)), "FILE:1: one row has more than 16 MiB");
    let error = read(Path::new("/dev/zero"), &Columns::default(), Called::Keys, Ids::Rows).unwrap_err().to_string();
    assert!(error.contains("/dev/zero: cannot read the labels: is not a regular file"), "{error}");
}

#[test]
fn foreign_text_is_escaped_and_cut() {
    let error = parse(format!("id,\u{1b}[31mA\nx,\u{202e}{}\n", "y".repeat(1000)), &Columns::default()).unwrap_err();
    assert!(error.contains("column `\\u{1b}[31mA`: `\\u{202e}yyy") && error.len() < 250, "{error}");
}

fn keys(change: impl FnOnce(&mut Columns)) -> Columns {
    let mut columns = Columns::default();
    change(&mut columns);
    columns
}

/// 40 rows below `header`; `{}` of `row` are what `cells` gives.
fn forty(header: &str, row: impl Fn(usize) -> String) -> String {
    (0..40).fold(format!("{header}\n"), |csv, at| csv + &row(at) + "\n")
}

#[test]
fn a_header_that_is_a_row_is_refused_unless_the_labels_are_named() {
    let refused = |csv: &str| {
        let error = parse(csv, &Columns::default()).unwrap_err();
        assert!(error.contains("looks like a row") && error.starts_with("FILE:1:"), "{error}");
    };
    refused(&forty("r0,0,1", |at| format!("r{},{},{}", at + 1, at % 2, at % 3 / 2)));
    refused(&forty("a/img000.png,1,0", |at| format!("b/img{at:03}.png,{},{}", at % 2, at % 3 / 2)));
    refused(&forty("7,0,0", |at| format!("{},{},{}", at + 8, at % 2, at % 3 / 2)));
    refused(&forty("x-01,train,true", |at| format!("x-{at:02},{},{}", ["val", "test"][at % 2], at % 3 == 0)));
    refused(&forty("1.jpg,Mass|Edema", |at| format!("{at}.jpg,{}", ["Mass", "Edema|Mass"][at % 2])));
    for csv in [
        forty("id,0,1,2", |at| format!("r{at},{},{},1", at % 2, at % 3 / 2)),
        forty("image,A1,B2", |at| format!("{at}.png,{},{}", at % 2, at % 3 / 2)),
        forty("name,train,A", |at| format!("n{at},{},1", at % 2)),
    ] {
        let read = parse(&csv, &Columns::default());
        assert!(read.as_ref().err().is_none_or(|error| !error.contains("looks like a row")), "{read:?}");
    }
    let named = keys(|columns| columns.labels = vec!["0".to_owned(), "1".to_owned()]);
    let csv = forty("r0,0,1", |at| format!("r{},{},{}", at + 1, at % 2, at % 3 / 2));
    assert_eq!(&*parse(csv, &named).unwrap().labels.names, ["0", "1"]);
}

#[test]
fn columns_that_look_like_splits_are_no_labels() {
    for name in ["is_valid", "is_test", "fold", "test", "IsTrain"] {
        let csv = forty(&format!("id,{name},A"), |at| format!("r{at},{},{}", at % 4 / 3, at % 2));
        let error = parse(&csv, &Columns::default()).unwrap_err();
        assert!(error.contains(&format!("column `{name}` is named like a split")), "{error}");
        let key = if ["is_valid", "is_test", "test"].contains(&name) { "split_column" } else { "ignore_columns" };
        assert!(error.contains(key) && error.contains("label_columns"), "{error}");
        let named = keys(|columns| columns.labels = vec![name.to_owned(), "A".to_owned()]);
        assert_eq!(parse(&csv, &named).unwrap().labels.names.len(), 2);
    }
    let csv = forty("id,patient_id,A", |at| format!("r{at},{},{}", at % 4 / 3, at % 2));
    let error = parse(&csv, &Columns::default()).unwrap_err();
    assert!(error.contains("named like what a row belongs to") && error.contains("group_column = \"patient_id\""), "{error}");
    let csv = forty("id,is_test,A", |at| format!("r{at},{},{}", at % 4 == 3, at % 2));
    let table = parse(&csv, &keys(|columns| columns.split = Some("is_test".to_owned()))).unwrap();
    assert_eq!(table.splits.unwrap()[..4], [0, 0, 0, 2]);
    let csv = forty("id,split,A", |at| format!("r{at},{},{}", at % 2, at % 3 / 2));
    let error = parse(&csv, &Columns::default()).unwrap_err();
    assert!(error.contains("`split` is a label, `data.split_column = \"none\"`"), "{error}");
    let none = keys(|columns| columns.split = Some(NO_COLUMN.to_owned()));
    assert_eq!(&*parse(&csv, &none).unwrap().labels.names, ["split", "A"]);
}

#[test]
fn all_columns_that_cannot_be_labels_are_named_with_the_keys_that_settle_them() {
    let csv = forty("id,Sex,Age,Path,patient,subset,tags,A,B,ok,note", |at| {
        let tags = ["x|y", "y", "z|x"][at % 3];
        let (sex, a, b) = (["F", "M"][at % 2], ["yes", "no"][at % 2], ["", "1", "0", "-1"][at % 4]);
        format!("r{at},{sex},{},f{at}.png,p{},train,{tags},{a},{b},{},see page {at} {}", 20 + at, at / 4, at % 2, "x".repeat(at))
    });
    let error = parse(&csv, &Columns::default()).unwrap_err();
    for part in [
        "FILE:2: column `Sex`: `F` must be 0 or 1. 9 columns are no labels as they stand:",
        "`Age`: numbers from 20 to 59",
        "`patient`: who a row belongs to (10 values)",
        "`tags`: lists of 3 names, separated by '|'",
        "`A`: `yes` and `no` in place of 1 and 0",
        "`B`: 10 blanks and 10 of -1: nothing says whether they are 0 or 1",
        "path_column = \"Path\"",
        "split_column = \"subset\"",
        "group_column = \"patient\"",
        "ignore_columns = [\"Sex\", \"Age\", \"note\"]",
        "label_lists = { \"tags\" = \"|\" }",
        "positive = [\"yes\"]",
        "negative = [\"no\"]",
        "unknown = \"ignore\"",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains("`ok`"), "{error}");
    let followed = keys(|columns| {
        columns.path = Some("Path".to_owned());
        columns.split = Some("subset".to_owned());
        columns.group = Some("patient".to_owned());
        columns.ignore = ["id", "Sex", "Age", "note"].map(str::to_owned).to_vec();
        columns.lists = [("tags".to_owned(), "|".to_owned())].into();
        columns.positive = vec!["yes".to_owned()];
        columns.negative = vec!["no".to_owned()];
        columns.unknown = Unknown { all: UnknownAs::Ignore, ..Unknown::default() };
    });
    let table = parse(&csv, &followed).unwrap();
    assert_eq!(&*table.labels.names, ["x", "y", "z", "A", "B", "ok"]);
    assert_eq!(table.labels.row(0), [1, 1, 0, 1, IGNORED, 0]);
    assert_eq!(table.labels.row(1), [0, 1, 0, 0, 1, 1]);
    assert_eq!((table.layout.unknown, table.layout.groups), (20, 10));
}

#[test]
fn ids_and_indices_are_told_from_labels() {
    let error = parse(forty("A,B", |at| format!("{},{}", at % 2, at % 3 / 2)), &Columns::default()).unwrap_err();
    assert!(error.contains("the first column, `A`, holds only 0 and 1") && error.contains("`none`"), "{error}");
    let none = keys(|columns| columns.path = Some(NO_COLUMN.to_owned()));
    let table = parse(forty("A,B", |at| format!("{},{}", at % 2, at % 3 / 2)), &none).unwrap();
    assert_eq!((&*table.labels.names, &table.ids[39][..]), (&["A".to_owned(), "B".to_owned()][..], "39"));
    for header in ["", "Unnamed: 0"] {
        let table =
            parse(forty(&format!("{header},name,A"), |at| format!("{at},n{at},{}", at % 2)), &Columns::default()).unwrap();
        assert_eq!((&*table.labels.names, &table.ids[3][..]), (&["A".to_owned()][..], "n3"));
        let table =
            parse(forty(&format!("{header},A,B"), |at| format!("{at},{},{}", at % 2, at % 3 / 2)), &Columns::default()).unwrap();
        assert_eq!((table.labels.names.len(), &table.ids[3][..]), (2, "3"));
    }
    let table = parse("id,A,,\nx,1,,\n,,,\ny,0,,\n\n", &Columns::default()).unwrap();
    assert_eq!((table.ids.len(), table.lines, table.layout.blank_rows), (2, vec![2, 4], 1));
    let error = parse("id,A,\nx,1,\ny,0,7\n", &Columns::default()).unwrap_err();
    assert!(error.contains("column 3 has no name, and holds `7` in line 3"), "{error}");
}

#[test]
fn lists_become_labels_in_a_stated_order() {
    let listed = |csv: &str, none: &[&str], unknown: UnknownAs| {
        let columns = keys(|columns| {
            columns.lists = [("tags".to_owned(), "|".to_owned())].into();
            columns.no_label = none.iter().map(|&none| none.to_owned()).collect();
            columns.unknown.all = unknown;
        });
        parse(csv, &columns)
    };
    let table = listed("id,tags,z\na,b|a,1\nb,No Finding,0\nc,a|,1\n", &["no finding"], UnknownAs::Error).unwrap();
    assert_eq!(
        (&*table.labels.names, table.labels.values.as_slice()),
        (&["a".to_owned(), "b".to_owned(), "z".to_owned()][..], &[1, 1, 1, 0, 0, 0, 1, 0, 1][..])
    );
    let table = listed("id,tags\na,10|9\nb,9\nc,2\n", &[], UnknownAs::Error).unwrap();
    assert_eq!(&*table.labels.names, ["2", "9", "10"], "ids in the order of their numbers");
    let error = listed("id,tags\na,x|none\nb,x\n", &["none"], UnknownAs::Error).unwrap_err();
    assert!(error.starts_with("FILE:2: `x|none` lists a label and says that there is none"), "{error}");
    let blank = "id,tags\na,x\nb,\nc,y\n";
    assert!(listed(blank, &[], UnknownAs::Error).unwrap_err().contains("FILE:3"), "a blank says nothing");
    assert_eq!(
        listed("id,tags\na,['x']\nb,[]\n", &[], UnknownAs::Error).unwrap().labels.values,
        [1, 0],
        "an empty list says none"
    );
    assert_eq!(listed(blank, &[""], UnknownAs::Error).unwrap().labels.values, [1, 0, 0, 0, 0, 1]);
    assert_eq!(listed(blank, &[], UnknownAs::Ignore).unwrap().labels.values, [1, 0, IGNORED, IGNORED, 0, 1]);
    let error = listed("id,tags,x\na,x|y,1\nb,y,0\n", &[], UnknownAs::Error).unwrap_err();
    assert!(error.contains("two labels are named `x`"), "{error}");
}

proptest! {
    /// Labels written in any spelling, separator and order of columns, with unknown cells, are read back.
    #[test]
    fn what_was_written_is_read(
        cells in prop::collection::vec(prop::collection::vec(0..3u8, 3), 3..30),
        separator in prop::sample::select(vec![',', ';', '\t', '|']),
        spelling in 0..4usize,
        id_at in 0..4usize,
    ) {
        let one = ["1", "1.0", "True", "1.000e+00"][spelling];
        let zero = ["0", "0.00", "FALSE", "-0.0"][spelling];
        let mut names = vec!["a", "b", "c"];
        names.insert(id_at, "name");
        let mut csv = names.join(&separator.to_string()) + "\n";
        for (row, labels) in cells.iter().enumerate() {
            let unknown = ["", "nan", "-1", "NA"][row % 4];
            let mut written: Vec<String> = labels.iter().map(|y| [zero, one, unknown][usize::from(*y)].to_owned()).collect();
            written.insert(id_at, format!("row-{row}"));
            writeln!(csv, "{}", written.join(&separator.to_string())).unwrap();
        }
        let columns = keys(|columns| {
            columns.path = Some("name".to_owned());
            columns.unknown.all = UnknownAs::Ignore;
        });
        let table = parse(&csv, &columns).unwrap();
        prop_assert_eq!(&table.labels.values, &cells.concat());
        prop_assert_eq!(&*table.labels.names, ["a", "b", "c"]);
        let strict = parse(&csv, &Columns { unknown: Unknown::default(), ..columns });
        prop_assert_eq!(strict.is_ok(), cells.iter().flatten().all(|y| *y < 2));
    }

    /// No text makes it panic.
    #[test]
    fn any_text_is_read_or_refused(text in "[-a-c01,;|\"\r\n. \t]{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&text, &Columns::default());
        let _ = parse(bytes, &Columns::default());
    }
}
