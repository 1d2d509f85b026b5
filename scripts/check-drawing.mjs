// Checks that the drawing of the layers in ARCHITECTURE.md is what layers.json says; `--write` brings it up to date.
import { readFileSync, writeFileSync } from 'node:fs';

const path = 'ARCHITECTURE.md';
const begin = '<!-- layers: written by scripts/check-drawing.mjs -->';
const end = '<!-- /layers -->';
const textWidth = 72;

function wrapped(text) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line !== '' && line.length + 1 + word.length > textWidth) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}

function drawing() {
  const { layers } = JSON.parse(readFileSync('layers.json', 'utf8'));
  const left = Math.max(...layers.map((layer) => layer.path.length)) + 2;
  const rule = (a, b, c) => `${a}${'─'.repeat(left)}${b}${'─'.repeat(textWidth + 2)}${c}`;
  const row = (name, text) => `│ ${name.padEnd(left - 1)}│ ${text.padEnd(textWidth + 1)}│`;
  const boxes = layers.map((layer) =>
    wrapped(layer.what)
      .map((line, i) => row(i === 0 ? layer.path : '', line))
      .join('\n'),
  );
  const keel = wrapped('keel, in C: runs plans, keeps containers, unpacks layers; knows nothing of containers');
  return [
    '```text',
    rule('┌', '┬', '┐'),
    boxes.join(`\n${rule('├', '┼', '┤')}\n`),
    rule('╞', '╪', '╡').replaceAll('─', '═'),
    keel.map((line, i) => row(i === 0 ? 'native' : '', line)).join('\n'),
    rule('└', '┴', '┘'),
    '```',
  ].join('\n');
}

const text = readFileSync(path, 'utf8');
const [from, to] = [text.indexOf(begin), text.indexOf(end)];
if (from < 0 || to < from) {
  console.error(`drawing: ${path} has no place for it between ${begin} and ${end}`);
  process.exit(1);
}
const wanted = `${text.slice(0, from + begin.length)}\n${drawing()}\n${text.slice(to)}`;
if (process.argv.includes('--write')) writeFileSync(path, wanted);
else if (wanted !== text) {
  console.error(`drawing: ${path} differs from layers.json: run node scripts/check-drawing.mjs --write`);
  process.exit(1);
}
