/* Counts, curves and bins of a strategy, as src/report/page/evidence.rs packed them (docs/page.md#packed-counts). */
const LEVELS = 65;
const BINS = 10;
const UNIT = 1000;

/** Base64 of raw deflate → bytes. */
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reads bytes in their order. */
class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** LEB128. */
  number() {
    let number = 0;
    let scale = 1;
    for (;;) {
      const byte = this.bytes[this.at++];
      number += (byte & 0x7f) * scale;
      if (byte < 0x80) return number;
      scale *= 128;
    }
  }

  falling(into, from, count) {
    let now = this.number();
    into[from] = now;
    for (let at = 1; at < count; at += 1) {
      now -= this.number();
      into[from + at] = now;
    }
  }

  float() {
    const float = this.view.getFloat32(this.at, true);
    this.at += 4;
    return float;
  }

  share() {
    return this.number() / UNIT;
  }

  shares(count) {
    let now = 0;
    return Array.from({ length: count }, () => {
      const step = this.number();
      now += step % 2 ? -(step + 1) / 2 : step / 2;
      return now / UNIT;
    });
  }
}

/**
 * The evidence of a strategy.
 * @returns counts: `[run of those with scores][label]` true positives at each stop, then false positives;
 *          frozen: `[run][policy][label]` {threshold, val: [tp, fp], test: [tp, fp]};
 *          curves: `[label]` precision at each recall level, or null; bins: `[label][bin]` mean score.
 */
async function unpack(model, strategy, evidence) {
  const labels = model.data[strategy.data].labels.length;
  const stops = model.stops.length;
  const reader = new Reader(await inflate(evidence.packed));
  const withScores = strategy.runs.filter((run) => run.scores).length;
  const counts = new Uint32Array(withScores * labels * 2 * stops);
  for (let at = 0; at < withScores * labels * 2; at += 1) reader.falling(counts, at * stops, stops);
  const frozen = strategy.runs.map(() =>
    model.policies.map(() =>
      Array.from({ length: labels }, () => ({
        threshold: reader.float(),
        val: [reader.number(), reader.number()],
        test: [reader.number(), reader.number()],
      })),
    ),
  );
  const curves = [];
  const bins = [];
  for (let label = 0; label < labels; label += 1) {
    curves.push(reader.number() ? reader.shares(LEVELS) : null);
    bins.push(Array.from({ length: BINS }, (_, bin) => bin / BINS + reader.share()));
  }
  return { withScores, counts, frozen, curves, bins, intervals: evidence.intervals || {} };
}
