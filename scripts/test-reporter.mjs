// A reporter for node --test: a line per file, failures and skips in full, and the counts as JSON in $KEELSON_TEST_COUNTS.
// A file in which no test ran counts as failed: it says nothing about the code.
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { inspect } from 'node:util';

const here = (file) => (file ? relative(process.cwd(), file) : '');
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

function describeError(error) {
  const cause = error?.cause ?? error;
  return inspect(cause, { depth: 3, colors: false })
    .split('\n')
    .map((line) => `      ${line}`)
    .join('\n');
}

export default async function* reporter(events) {
  const counts = { passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  const files = new Map();
  for await (const { type, data } of events) {
    const file = here(data.entryFile ?? data.file);
    const own = files.get(file) ?? { passed: 0, failed: 0, skipped: 0, text: '' };
    files.set(file, own);
    if (type === 'test:stdout' || type === 'test:stderr') {
      own.text += data.message;
    } else if (type === 'test:fail' && data.details.type !== 'suite') {
      // A parent of failed subtests has failed with them; they are counted, it is not.
      if (data.details.error?.failureType === 'subtestsFailed') continue;
      own.failed += 1;
      counts.failed += 1;
      counts.failures.push(`${file}: ${data.name}`);
      yield `  FAILED ${file}:${data.line} ${data.name} (${seconds(data.details.duration_ms)})\n${describeError(data.details.error)}\n`;
      if (data.entryFile === undefined && own.text) yield `${own.text.trimEnd().slice(-8000)}\n`;
    } else if (type === 'test:fail' && data.details.error?.failureType !== 'subtestsFailed') {
      // A hook of a suite.
      own.failed += 1;
      counts.failed += 1;
      counts.failures.push(`${file}: ${data.name}`);
      yield `  FAILED ${file}:${data.line} ${data.name}\n${describeError(data.details.error)}\n`;
    } else if (type === 'test:pass' && data.details.type !== 'suite') {
      if (data.entryFile === undefined) {
        counts.failed += 1;
        counts.failures.push(`${file}: no test in it`);
        yield `  FAILED ${file}: no test in it ran\n`;
      } else if (data.skip !== undefined || data.todo !== undefined) {
        own.skipped += 1;
        counts.skipped += 1;
        const why = data.skip ?? data.todo;
        counts.skips.push(`${file}: ${data.name}${typeof why === 'string' ? `: ${why}` : ''}`);
      } else {
        own.passed += 1;
        counts.passed += 1;
      }
    } else if (type === 'test:summary' && data.file !== undefined) {
      const parts = [`${own.passed} passed`];
      if (own.failed) parts.push(`${own.failed} failed`);
      if (own.skipped) parts.push(`${own.skipped} skipped`);
      yield `  ${own.failed ? 'FAILED' : 'ok'} ${file}: ${parts.join(', ')} (${seconds(data.duration_ms)})\n`;
      if (own.failed && own.text) yield `    it printed:\n${own.text.trimEnd().slice(-8000)}\n`;
      files.delete(file);
    }
  }
  if (process.env.KEELSON_TEST_COUNTS) writeFileSync(process.env.KEELSON_TEST_COUNTS, JSON.stringify(counts));
}
