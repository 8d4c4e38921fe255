//! The page in a real browser: opened from disk, by eye, hand and keyboard.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it leaves out; its helpers too")]

mod browser;
mod common;

use std::fs;
use std::sync::OnceLock;

use browser::{ENTER, Look, RIGHT, SPACE, TAB, in_browser};
use common::Place;
use serde_json::{Value, json};

/// A label that attacks every format, one that is long, and one that is written from the right.
const HOSTILE: [&str; 3] =
    ["</script><img src=x onerror=alert(1)>", "\u{202e}gnp.exe \u{1b}[31m<b>&amp;", "a label of three hundred letters"];

/// A sweep of eight runs with hostile names, recorded once for all tests.
fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let long = HOSTILE[2].repeat(10);
        let rates = [(HOSTILE[0], 0.2), (HOSTILE[1], 0.5), (&long, 0.3)];
        let rates: Vec<String> = rates.iter().map(|(name, rate)| format!("{} = {rate}", toml_text(name))).collect();
        let text = common::SWEEP
            .replace(
                "label_rates = { A = 0.2, \"B/b, \\\"b\\\"\" = 0.5, \"N/A\" = 0.3 }",
                &format!("label_rates = {{ {} }}", rates.join(", ")),
            )
            .replace("name = \"small\"", "name = \"<img src=x onerror=alert(2)> small\"");
        assert!(text.contains("onerror=alert(1)") && text.contains("onerror=alert(2)"));
        let place = Place::new(&text);
        place.succeed(&["run", "sweep.toml"]);
        place.succeed(&["report", "--format", "html", "--output", "report.html", "--quiet"]);
        place
    })
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    serde_json::to_string(text).unwrap().replace("\u{202e}", "\\u202E")
}

/// What the page shows of every strategy on the chosen label: name → threshold, precision, recall, F1, predicted, counts.
const CUTS: &str = "Object.fromEntries([...document.querySelectorAll('#cuts tbody tr')].map((row) => [row.dataset.strategy, [...row.cells].slice(1).map((cell) => cell.textContent)]))";

/// The model as it stands in a page.
fn model(html: &str) -> Value {
    let (_, rest) = html.split_once("<script type=\"application/json\" id=\"model\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn page() -> (String, Value) {
    let html = fs::read_to_string(place().path("report.html")).unwrap();
    let model = model(&html);
    (html, model)
}

/// Runs of a row of `report --format json` and of a strategy of the page are the same.
fn same_runs(row: &Value, strategy: &Value) -> bool {
    let names = |runs: &Value, short: bool| -> Vec<String> {
        let of =
            |run: &Value| if short { run["run"].as_str().unwrap().to_owned() } else { run.as_str().unwrap()[..8].to_owned() };
        let mut names: Vec<String> = runs.as_array().unwrap().iter().map(of).collect();
        names.sort();
        names
    };
    names(&row["runs"], false) == names(&strategy["runs"], true)
}

#[test]
fn a_page_from_disk_asks_for_nothing_and_says_nothing() {
    in_browser(Look::default(), |browser| {
        let path = place().path("report.html");
        browser.open_file(&path, "");
        // Everything is drawn.
        for section in ["thresholds", "scatter", "learning", "reliability", "provenance"] {
            browser.tell(&format!("document.getElementById('{section}').scrollIntoView()"));
            browser.until("document.readyState === 'complete'");
        }
        browser.tell("document.getElementById('reliability').scrollIntoView()");
        browser.until("document.querySelector('#reliability-chart canvas')");
        assert_eq!(browser.console(), [""; 0]);
        assert_eq!(browser.requests(), [format!("file://{}", path.display())]);
        assert_eq!(browser.ask("document.getElementById('fault').hidden"), true);
        // Names are text: nothing of them became an element.
        assert_eq!(browser.ask("document.querySelectorAll('[onerror], img[src=\"x\"]').length"), 0);
        assert_eq!(browser.ask("document.querySelector('h1').textContent"), "<img src=x onerror=alert(2)> small");
        let names = browser.ask("[...document.querySelectorAll('#labels .name')].map((name) => name.textContent)");
        let names: Vec<&str> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert!(names.contains(&HOSTILE[0]), "{names:?}");
        assert!(
            names.iter().all(|name| !name.contains(['\u{202e}', '\u{1b}'])),
            "directions and escapes are written out: {names:?}"
        );
        // Every picture can be seen.
        let broken = "[...document.images].filter((image) => !image.complete || image.naturalWidth === 0).length";
        assert_eq!((browser.ask("document.images.length > 8"), browser.ask(broken)), (json!(true), json!(0)));
    });
}

/// The numbers beside a slider are those of `sweep report --threshold T`, for every label and strategy.
#[test]
fn sliders_say_what_the_report_says() {
    in_browser(Look::default(), |browser| {
        let (_, model) = page();
        browser.open_file(&place().path("report.html"), "");
        let stops: Vec<f64> = model["stops"].as_array().unwrap().iter().map(|stop| stop.as_f64().unwrap()).collect();
        let labels = model["data"][0]["labels"].as_array().unwrap();
        for threshold in [0.005, 0.21, 0.5, 0.63, 1.0] {
            let report = place().json(&["report", "--threshold", &threshold.to_string()]);
            let stop = stops.iter().position(|&stop| stop == threshold).unwrap();
            for (at, _) in labels.iter().enumerate() {
                let move_to = format!(
                    "const slider = document.querySelector('[data-testid=\"slider-{at}\"]'); slider.value = {stop}; slider.dispatchEvent(new Event('input', {{ bubbles: true }}));"
                );
                browser.tell(&move_to);
                let shown = browser.ask(CUTS);
                let mut compared = 0;
                for strategy in model["strategies"].as_array().unwrap() {
                    let row = report["rows"].as_array().unwrap().iter().find(|row| same_runs(row, strategy)).unwrap();
                    let wanted = &row["labels"][at];
                    let cells = &shown[strategy["key"].as_str().unwrap()];
                    let number = |name: &str| format!("{:.3}", wanted[name].as_f64().unwrap());
                    let percent = format!("{:.1}%", 100.0 * wanted["predicted_rate"].as_f64().unwrap());
                    let found: Vec<&str> = (0..5).map(|cell| cells[cell].as_str().unwrap()).collect();
                    assert_eq!(
                        found,
                        [format!("{threshold:.3}"), number("precision"), number("recall"), number("f1"), percent],
                        "label {at}"
                    );
                    compared += 1;
                }
                assert_eq!(compared, 4);
            }
            // With every label there, the macro average is that of the report.
            let shown = browser.ask(CUTS);
            for strategy in model["strategies"].as_array().unwrap() {
                let row = report["rows"].as_array().unwrap().iter().find(|row| same_runs(row, strategy)).unwrap();
                let macro_f1 = format!("{:.3}", row["metrics"]["macro_f1"]["mean"].as_f64().unwrap());
                assert_eq!(shown[strategy["key"].as_str().unwrap()][11], macro_f1);
            }
        }
        let best: f64 = browser.ask("Number(document.documentElement.dataset.sliderBest)").as_f64().unwrap();
        println!("slider handler, best: {best} ms");
        assert!(best > 0.0);
    });
}

/// Under a policy the counts are those that the database has.
#[test]
fn policies_say_what_the_database_says() {
    in_browser(Look::default(), |browser| {
        let (_, model) = page();
        browser.open_file(&place().path("report.html"), "");
        let rows = database_counts();
        for (policy, name) in model["policies"].as_array().unwrap().iter().enumerate() {
            browser.tell(&format!("document.querySelector('[data-testid=\"chip-{policy}\"]').click()"));
            for (at, label) in model["data"][0]["labels"].as_array().unwrap().iter().enumerate() {
                browser.tell(&format!("document.querySelector('[data-testid=\"slider-{at}\"]').focus()"));
                let shown = browser.ask(CUTS);
                for strategy in model["strategies"].as_array().unwrap() {
                    let runs: Vec<&str> =
                        strategy["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
                    let own: Vec<&[f64; 5]> = rows
                        .iter()
                        .filter(|row| runs.contains(&&row.run[..8]) && row.policy == name.as_str().unwrap() && row.label == at)
                        .map(|row| &row.counts)
                        .collect();
                    assert_eq!(own.len(), runs.len(), "{name} {label}");
                    let mean = |place: usize| own.iter().map(|counts| counts[place]).sum::<f64>() / own.len() as f64;
                    let count = |value: f64| if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.1}") };
                    let cells = &shown[strategy["key"].as_str().unwrap()];
                    let found: Vec<&str> = (5..9).map(|cell| cells[cell].as_str().unwrap()).collect();
                    assert_eq!(found, [1, 2, 3, 4].map(|place| count(mean(place))), "{name} {label}");
                    let threshold = if mean(0) > 1.0 { "never".to_owned() } else { format!("{:.3}", mean(0)) };
                    assert_eq!(cells[0], threshold);
                }
            }
        }
    });
}

/// A row of `label_counts` at the best epoch on val.
struct Row {
    run: String,
    policy: String,
    /// The label's place.
    label: usize,
    /// Threshold, tp, fp, fn, tn.
    counts: [f64; 5],
}

fn database_counts() -> Vec<Row> {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{Connection, Row as _};
    let path = place().path("sweep.db");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let rows = sqlx::query(
                "SELECT r.fingerprint, p.name, l.position, c.threshold, c.tp, c.fp, c.fn, c.tn
                 FROM label_counts c JOIN evaluations e ON e.id = c.evaluation JOIN runs r ON r.id = e.run
                 JOIN policies p ON p.id = e.policy JOIN labels l ON l.id = c.label WHERE e.split = 'val' AND e.epoch = r.best_epoch",
            )
            .fetch_all(&mut connection)
            .await
            .unwrap();
            let row = |row: &sqlx::sqlite::SqliteRow| Row {
                run: row.get(0),
                policy: row.get(1),
                label: row.get::<i64, _>(2) as usize,
                counts: std::array::from_fn(|at| if at == 0 { row.get::<f64, _>(3) } else { row.get::<i64, _>(3 + at) as f64 }),
            };
            rows.iter().map(row).collect()
        })
    })
    .join()
    .unwrap()
}

/// Filter, order, marks and thresholds are in the URL, and come back with it.
#[test]
fn what_is_chosen_comes_back_with_the_url() {
    in_browser(Look::default(), |browser| {
        let path = place().path("report.html");
        browser.open_file(&path, "");
        let rows = "[...document.querySelectorAll('#board tbody tr[data-key]')].map((row) => row.dataset.key)";
        let all = browser.ask(rows);
        assert!(all.as_array().unwrap().len() > 8);
        // Filter.
        browser.tell("const filter = document.getElementById('filter'); filter.value = 'focal -sqrt'; filter.dispatchEvent(new Event('input'));");
        let text = browser.ask("[...document.querySelectorAll('#board tbody tr.strategy')].map((row) => row.textContent)");
        let texts: Vec<&str> = text.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        assert!(texts.len() == 3 && texts.iter().all(|text| text.contains("focal") && !text.contains("sqrt")), "{texts:?}");
        // Sort by macro AP, the worst first.
        browser.tell(
            "const filter = document.getElementById('filter'); filter.value = ''; filter.dispatchEvent(new Event('input'));",
        );
        let by_ap = "document.querySelector('#board th[data-sort=\"ap\"] button').click()";
        browser.tell(by_ap);
        browser.tell(by_ap);
        let aps = browser
            .ask("[...document.querySelectorAll('#board tbody tr.strategy')].map((row) => parseFloat(row.cells[document.querySelector('#board th[data-sort=\"ap\"]').cellIndex].textContent))")
            ;
        let aps: Vec<f64> = aps.as_array().unwrap().iter().map(|ap| ap.as_f64().unwrap()).collect();
        assert!(aps.len() > 8 && aps.is_sorted(), "{aps:?}");
        assert_eq!(browser.ask("document.querySelector('#board th[data-sort=\"ap\"]').getAttribute('aria-sort')"), "ascending");
        // A threshold, a prevalence, a price, an opened row, fewer rows, a mark less.
        browser.tell("const slider = document.querySelector('[data-testid=\"slider-1\"]'); slider.value = 30; slider.dispatchEvent(new Event('input'));");
        browser.tell("const cost = document.getElementById('cost'); cost.value = 5; cost.dispatchEvent(new Event('input'));");
        browser
            .tell("const prior = document.getElementById('prior'); prior.value = -2; prior.dispatchEvent(new Event('input'));");
        browser.tell("const top = document.getElementById('top'); top.value = 5; top.dispatchEvent(new Event('input'));");
        browser.tell("document.querySelector('#board .open').click()");
        browser.tell("document.querySelector('#board .pick input:checked').click()");
        browser.until("location.hash.includes('open=') && location.hash.includes('prior=')");
        let state = "JSON.stringify([[...document.querySelectorAll('#board tbody tr')].map((row) => row.textContent), [...document.querySelectorAll('#board .pick input')].map((box) => box.checked), document.querySelector('[data-testid=\"slider-1\"]').value, document.getElementById('cost').value, document.getElementById('prior-value').textContent, document.getElementById('label-name').textContent, [...document.querySelectorAll('#cuts tbody tr')].map((row) => row.textContent)])";
        browser.until("document.getElementById('prior-value').textContent === '1.0%'");
        let before = browser.ask(state);
        let hash = browser.ask("location.hash");
        browser.open_file(&path, hash.as_str().unwrap());
        assert_eq!(browser.ask(state), before);
        assert!(before.as_str().unwrap().contains("its labels on val"), "an opened row has its labels");
        // Nonsense in a URL is the page as it is at first.
        browser.open_file(&path, "#label=99&cut=x:y,-1:3&top=-4&chip=77&zoom=1,2&sort=<b>.up&open=none");
        assert_eq!(browser.ask(rows), all);
        assert_eq!((browser.console(), browser.ask("document.getElementById('fault').hidden")), (vec![], json!(true)));
    });
}

/// Without a mouse: a slider, a chip, a row and an order by keys alone.
#[test]
fn the_keyboard_is_enough() {
    in_browser(Look::default(), |browser| {
        browser.open_file(&place().path("report.html"), "");
        let press = |keys: &str, times: usize| (0..times).for_each(|_| browser.press(keys));
        // From the top of the page with the tabulator: every control is reached, in the order of the page.
        browser.tell("document.querySelector('.skip').focus()");
        let mut seen = Vec::new();
        for _ in 0..400 {
            press(TAB, 1);
            let id = browser
                .ask("document.activeElement.id || document.activeElement.dataset.testid || document.activeElement.className");
            let id = id.as_str().unwrap().to_owned();
            if id == "cost" {
                break;
            }
            seen.push(id);
        }
        let place_of =
            |wanted: &str| seen.iter().position(|id| id == wanted).unwrap_or_else(|| panic!("{wanted} is not reached: {seen:?}"));
        let order = ["filter", "policy-filter", "top", "open", "chip-0", "reset", "slider-0", "prior"].map(place_of);
        assert!(order.is_sorted(), "{order:?}");
        // The arrow keys move a slider by a stop, and the number follows.
        browser.tell("document.querySelector('[data-testid=\"slider-0\"]').focus()");
        let before = browser.ask("Number(document.querySelector('[data-testid=\"slider-0\"]').value)").as_f64().unwrap();
        press(RIGHT, 3);
        assert_eq!(
            browser.ask("Number(document.querySelector('[data-testid=\"slider-0\"]').value)").as_f64(),
            Some(before + 3.0)
        );
        let threshold = browser.ask("document.querySelector('#cuts tbody td').textContent");
        assert_eq!(browser.ask("document.querySelector('[data-testid=\"slider-0\"]').getAttribute('aria-valuetext')"), threshold);
        browser.until("document.getElementById('said').textContent.includes('precision')");
        // A number typed into the field is a threshold, the nearest stop.
        browser.tell("document.querySelector('[data-testid=\"field-0\"]').focus()");
        browser.press(&format!("0.734{ENTER}"));
        assert_eq!(browser.ask("document.querySelector('#cuts tbody td').textContent"), "0.730");
        // A row opens and closes, a column orders.
        browser.tell("document.querySelector('#board .open').focus()");
        press(ENTER, 1);
        assert_eq!(browser.ask("document.querySelector('#board .open').getAttribute('aria-expanded')"), "true");
        assert_eq!(browser.ask("document.querySelectorAll('#board tr.opened table').length"), 2);
        press(ENTER, 1);
        assert_eq!(browser.ask("document.querySelectorAll('#board tr.opened').length"), 0);
        browser.tell("document.querySelector('#board th[data-sort=\"ap\"] button').focus()");
        press(SPACE, 1);
        assert_eq!(browser.ask("document.querySelector('#board th[data-sort=\"ap\"]').getAttribute('aria-sort')"), "descending");
        // Every control has a name for those who hear the page.
        let nameless = "[...document.querySelectorAll('button, input, select')].filter((control) => !(control.textContent.trim() || control.getAttribute('aria-label') || control.closest('label')?.textContent.trim() || control.title)).map((control) => control.outerHTML)";
        assert_eq!(browser.ask(nameless), json!([]));
    });
}

/// Without scripts the verdict and the tables stand, and nothing that needs a script is shown.
#[test]
fn without_scripts_the_tables_stand() {
    in_browser(Look { scripts: false, ..Look::default() }, |browser| {
        let path = place().path("report.html");
        browser.goto(&format!("file://{}", path.display()));
        let text = browser.text("body");
        let (_, model) = page();
        let first = model["verdict"]["settings"][0]["sentences"][0].as_str().unwrap();
        assert!(text.contains(first), "{first}");
        for words in [
            "Leaderboard",
            "held out",
            "focal",
            "Labels of the best rows",
            "How much each axis explains",
            "Where this comes from",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        for words in ["Move the threshold", "Filter", "Learning curves"] {
            assert!(!text.contains(words), "{words} needs a script");
        }
        let rows = browser.count("#board tbody tr");
        assert_eq!(rows, model["rows"].as_array().unwrap().len());
    });
}

/// A script that fails leaves the tables and says so in a line.
#[test]
fn a_failing_script_leaves_the_tables() {
    in_browser(Look::default(), |browser| {
        let (html, _) = page();
        // Damaged counts: the policy admits the same scripts.
        let (before, rest) = html.split_once("\"packed\":\"").unwrap();
        let path = place().path("damaged.html");
        fs::write(&path, format!("{before}\"packed\":\"AAAA{}", &rest[4..])).unwrap();
        browser.goto(&format!("file://{}", path.display()));
        browser.until("!document.getElementById('fault').hidden");
        let fault = browser.ask("document.getElementById('fault').textContent");
        assert!(fault.as_str().unwrap().starts_with("A script of this page failed: "), "{fault}");
        let visible = "[...document.querySelectorAll('#board tbody tr')].filter((row) => row.offsetHeight > 0).length > 8";
        assert_eq!(browser.ask(visible), true);
        assert_eq!(browser.ask("document.getElementById('thresholds').offsetHeight"), 0);
    });
}

/// On a phone nothing is wider than the screen, and text is readable on its ground, light and dark.
#[test]
fn phones_and_dark_screens_are_read() {
    const CONTRAST: &str = r"(() => {
        const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
        const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
        const light = ([r, g, b]) => { const of = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }; return 0.2126 * of(r) + 0.7152 * of(g) + 0.0722 * of(b); };
        const ground = (element) => { for (let at = element; at; at = at.parentElement) { const color = rgb(getComputedStyle(at).backgroundColor); if (color[3] > 250) return color; } return [255, 255, 255, 255]; };
        const low = [];
        for (const element of document.querySelectorAll('h1, h2, p, td, th, summary, label, button, .note, .badge, dt, dd, li')) {
            if (!element.offsetHeight || element.closest('.cell') || ![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
            const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) low.push(`${element.tagName}.${element.className} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
        }
        return low;
    })()";
    for look in [
        Look { width: 360, ..Look::default() },
        Look { dark: true, ..Look::default() },
        Look { width: 360, dark: true, ..Look::default() },
    ] {
        in_browser(look, |browser| {
            browser.open_file(&place().path("report.html"), "");
            assert_eq!(browser.ask("document.documentElement.scrollWidth <= innerWidth"), true, "{look:?}");
            let wide = "[...document.querySelectorAll('main *')].filter((element) => !element.closest('.scroll, .quiet, pre') && element.getBoundingClientRect().right > innerWidth + 1).map((element) => element.outerHTML.slice(0, 120))";
            assert_eq!(browser.ask(wide), json!([]), "{look:?}");
            assert_eq!(browser.ask(CONTRAST), json!([]), "{look:?}");
        });
    }
}
