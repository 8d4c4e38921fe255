//! The live page in a real browser: runs end, and what the reader has set stays.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it leaves out; its helpers too")]

mod browser;
mod common;
#[path = "serve/served.rs"]
mod served;

use std::process::Stdio;

use browser::{Look, in_browser};
use common::Place;
use serde_json::json;
use served::Served;

/// Runs that take a while one after the other.
fn place() -> Place {
    let text = common::SWEEP
        .replace("seed = [0, 1]", "seed = [0, 1, 2, 3]")
        .replace("label_rates = { A = 0.2,", "label_rates = { A = 0.2, Z = 0.1,");
    Place::new(&text)
}

fn serve(place: &Place, port: &str) -> Served {
    Served::start(place.command(&["serve", "small", "--port", port]))
}

/// Where what the reader looks at stands on the screen.
fn place_on_screen(browser: &browser::Browser) -> f64 {
    browser.ask("document.getElementById('chips').getBoundingClientRect().top").as_f64().unwrap()
}

/// What the reader has set: numbers of sliders, a filter, marks (by row: rows move as ranks do), an opened row, the zoom, how a table is scrolled.
const SET: &str = "JSON.stringify([[...document.querySelectorAll('#labels input[type=range]')].map((slider) => slider.value), document.getElementById('filter').value, [...document.querySelectorAll('#board .pick input')].map((box) => [box.closest('tr').dataset.key, box.checked]).filter(([key]) => window.seen.includes(key)).sort(), [...document.querySelectorAll('#board .open[aria-expanded=true]')].length, new URLSearchParams(location.hash.slice(1)).get('zoom'), document.querySelector('#leaderboard .scroll').scrollLeft, document.activeElement.dataset.testid])";

#[test]
fn a_run_that_ends_touches_nothing_that_was_set() {
    in_browser(Look { width: 900, ..Look::default() }, |browser| {
        let place = place();
        let mut training = place
            .command(&["run", "sweep.toml", "--devices", "cpu"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let served = serve(&place, "0");
        browser.goto(&served.url());
        // The waiting page gives way to the real one; then there are sliders that move counts.
        browser.until("document.documentElement.dataset.ready === 'yes' && document.querySelectorAll('#cuts tbody tr').length > 0 && document.querySelector('#cuts tbody td').textContent !== '–'");
        assert_eq!(browser.ask("location.hash.includes('token')"), json!(false), "the token leaves the address");
        browser.tell("document.getElementById('thresholds').scrollIntoView()");
        browser.until("document.querySelector('#pr canvas')");
        browser.tell("const slider = document.querySelector('[data-testid=\"slider-1\"]'); slider.value = 40; slider.dispatchEvent(new Event('input'));");
        // A zoom, by a rectangle that is drawn over the curves.
        browser
            .tell(
                "const box = document.getElementById('pr').getBoundingClientRect(); const at = (x, y) => ({ clientX: box.left + x * box.width, clientY: box.top + y * box.height, button: 0, bubbles: true }); \
                 document.getElementById('pr').dispatchEvent(new PointerEvent('pointerdown', at(0.3, 0.3))); dispatchEvent(new PointerEvent('pointermove', at(0.6, 0.6))); dispatchEvent(new PointerEvent('pointerup', at(0.7, 0.7)));",
            )
            ;
        browser.tell("document.querySelector('#board .open').click(); document.querySelector('#leaderboard .scroll').scrollLeft = 40; document.getElementById('thresholds').scrollIntoView();");
        browser.until("location.hash.includes('zoom=') && location.hash.includes('open=')");
        browser.tell("document.querySelector('[data-testid=\"slider-1\"]').focus({ preventScroll: true }); window.seen = [...document.querySelectorAll('#board tr[data-key]')].map((row) => row.dataset.key);");
        browser.tell("window.kept = document.querySelector('[data-testid=\"slider-1\"]'); window.canvas = document.querySelector('#pr canvas');");
        let top = place_on_screen(browser);
        let (before, rev) = (browser.ask(SET), browser.ask("document.documentElement.dataset.rev || ''"));
        browser.until(&format!("(document.documentElement.dataset.rev || '') !== {rev}"));
        assert_eq!(browser.ask(SET), before, "a change has touched what was set");
        assert!((place_on_screen(browser) - top).abs() < 3.0, "the page has scrolled");
        assert!(training.wait().unwrap().success());
        browser.until("document.querySelector('#head .badge').textContent === 'done' && document.querySelector('#head').textContent.includes('16 of 16 runs')");
        assert_eq!(browser.ask(SET), before, "the end has touched what was set");
        assert!((place_on_screen(browser) - top).abs() < 3.0, "the page has scrolled");
        let same = "window.kept === document.querySelector('[data-testid=\"slider-1\"]') && window.canvas === document.querySelector('#pr canvas')";
        assert_eq!(browser.ask(same), json!(true), "sliders and charts are the same elements");
        // All counts have arrived: four seeds each.
        let details = "[...document.querySelectorAll('#board tr.opened table')][0].tBodies[0].rows.length";
        assert_eq!(browser.ask(details), json!(4));
        // The server goes and comes back: the stream resumes.
        let port = served.port.to_string();
        let rev = browser.ask("document.documentElement.dataset.rev");
        drop(served);
        browser.until("document.getElementById('link').textContent.includes('away')");
        let again = serve(&place, &port);
        browser.until(&format!("document.documentElement.dataset.rev !== {rev}"));
        browser.until("!document.getElementById('link').textContent.includes('away')");
        assert_eq!(browser.ask(SET), before, "a new server has touched what was set");
        // Nobody trains: the page says with which command one stops.
        assert_eq!(browser.ask("document.getElementById('fault').hidden"), json!(true));
        drop(again);
    });
}
