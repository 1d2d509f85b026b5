// Runs the suites of other OCI runtimes against keelson-oci and its peers, side by side, as root:
//
//   node scripts/conformance.mjs [--runc DIR] [--crun DIR] [--tools DIR] [--only TEXT] [--peer PATH]… [--out DIR]
//
// The directories are checkouts that are built already, each as its own instructions say: runc (`make test-binaries`; its tests fetch their
// images, and want bats, jq, gawk and go), crun (tests/init; python3), runtime-tools (`make runtimetest validation-executables`). Prints, in
// Markdown, the counts and every test that does not end the same with all runtimes; `--out` keeps what the tests wrote.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const checkout = dirname(import.meta.dirname);
const text = { type: 'string' };
const { values } = parseArgs({
  options: {
    runc: text,
    crun: text,
    tools: text,
    only: text,
    out: text,
    peer: { ...text, multiple: true, default: ['/usr/sbin/runc', '/usr/bin/runc', '/usr/bin/crun'] },
    seconds: { ...text, default: '300' },
  },
});
const runtimes = [join(checkout, 'bin/keelson-oci'), ...values.peer.filter((path) => existsSync(path))];

/** How a suite's files are found and run; each file in a world of its own. */
const suites = [
  {
    name: 'runc',
    files: (top) => list(join(top, 'tests/integration'), '.bats'),
    command: (_top, file) => ['bats', '--tap', file],
    environment: (runtime) => ({ RUNC: runtime }),
    tests: tapTests,
  },
  {
    name: 'crun',
    files: (top) => list(join(top, 'tests'), '.py').filter((file) => basename(file).startsWith('test_')),
    command: (_top, file) => ['python3', file],
    environment: (runtime, top) => ({
      OCI_RUNTIME: runtime,
      INIT: join(top, 'tests/init'),
      PYTHONDONTWRITEBYTECODE: '1',
    }),
    tests: tapTests,
  },
  {
    name: 'tools',
    files: (top) => list(join(top, 'validation'), '.t', { recursive: true }),
    command: (_top, file) => [file],
    // Their program runs in the container, and is looked for in the working directory.
    directory: (top) => top,
    environment: (runtime) => ({ RUNTIME: runtime }),
    // One result a program: its checks have no names of their own.
    tests: (output, code) => ({ '': code === 0 && !/^not ok/m.test(output) ? 'ok' : 'fail' }),
  },
];

function list(folder, end, options = {}) {
  const names = readdirSync(folder, options).filter((name) => name.endsWith(end));
  return names.sort().map((name) => join(folder, name));
}

/** Test Anything Protocol: result by the test's name. A file that ends early has failed as a whole, too. */
function tapTests(output) {
  const results = {};
  for (const [, not, title] of output.matchAll(/^(not )?ok \d+ (?:- )?(.*)$/gm)) {
    const name = title.replace(/\s*# .*$|\s*#SKIP.*$/i, '');
    results[name] = /#\s*skip/i.test(title) ? 'skip' : not ? 'fail' : 'ok';
  }
  const [, planned = '-1'] = /^1\.\.(\d+)/m.exec(output) ?? [];
  if (Object.keys(results).length < Number(planned) || planned === '-1') results['(the file)'] = 'fail';
  return results;
}

function run(suite, top, file, runtime) {
  const directory = mkdtempSync(join(tmpdir(), 'conformance-'));
  const quoted = suite.command(top, file).map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  // The tests want a terminal, and mounts that are shared as systemd leaves them.
  const inside = `mount --make-rshared / && exec script -qec "$COMMAND" /dev/null`;
  const limit = ['timeout', '-k', '10', values.seconds];
  const { stdout, status } = spawnSync(join(checkout, 'test/support/isolated.sh'), [...limit, 'sh', '-c', inside], {
    cwd: suite.directory?.(top) ?? directory,
    env: { ...process.env, ...suite.environment(runtime, top), TMPDIR: directory, COMMAND: quoted.join(' ') },
    maxBuffer: 1 << 30,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  rmSync(directory, { recursive: true, force: true });
  const output = stdout.replaceAll('\r', '');
  if (values.out !== undefined) {
    const folder = join(values.out, basename(runtime), suite.name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${basename(file)}.tap`), output);
  }
  return suite.tests(output, status);
}

function row(...cells) {
  return `| ${cells.join(' | ')} |`;
}

const names = runtimes.map((runtime) => basename(runtime));
const head = (...first) => [row(...first, ...names), row(...[...first, ...names].map(() => '---'))];
const counts = head('suite');
const differences = head('suite', 'file', 'test');
for (const suite of suites) {
  const top = values[suite.name] && resolve(values[suite.name]);
  if (!top) continue;
  const totals = names.map(() => ({ ok: 0, fail: 0, skip: 0 }));
  for (const file of suite.files(top).filter((path) => basename(path).includes(values.only ?? ''))) {
    process.stderr.write(`${suite.name} ${basename(file)}\n`);
    const results = runtimes.map((runtime) => run(suite, top, file, runtime));
    for (const test of new Set(results.flatMap((result) => Object.keys(result)))) {
      const each = results.map((result) => result[test] ?? '-');
      for (const [i, end] of each.entries()) if (end in totals[i]) totals[i][end] += 1;
      if (new Set(each).size > 1)
        differences.push(row(suite.name, basename(file), test.replaceAll('|', '\\|'), ...each));
    }
  }
  counts.push(row(suite.name, ...totals.map(({ ok, fail, skip }) => `${ok} ok, ${fail} fail, ${skip} skip`)));
}
if (counts.length === 2) throw new Error('none of --runc, --crun and --tools was given');
console.log([...counts, '', ...differences].join('\n'));
