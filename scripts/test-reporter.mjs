// A reporter for one test file that is run by itself: failures in full, and the counts as JSON in $KEELSON_TEST_COUNTS.
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { inspect } from 'node:util';

function describe(error) {
  const text = inspect(error?.cause ?? error, { depth: 3, colors: false });
  return text.replaceAll(/^/gm, '      ');
}

export default async function* reporter(events) {
  const counts = { passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const { details, name } = data;
    if (type === 'test:fail') {
      // A parent of failed subtests has failed with them; they are counted, it is not.
      if (details.error?.failureType === 'subtestsFailed') continue;
      counts.failed += 1;
      counts.failures.push(name);
      const where = data.file ? `${relative(process.cwd(), data.file)}:${data.line} ` : '';
      yield `  FAILED ${where}${name} (${(details.duration_ms / 1000).toFixed(1)} s)\n${describe(details.error)}\n`;
    } else if (details.type !== 'suite') {
      const why = data.skip ?? data.todo;
      if (why === undefined) counts.passed += 1;
      else {
        counts.skipped += 1;
        counts.skips.push(typeof why === 'string' ? `${name}: ${why}` : name);
      }
    }
  }
  writeFileSync(process.env.KEELSON_TEST_COUNTS, JSON.stringify(counts));
}
