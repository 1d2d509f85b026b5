// Checks that imports point down only, in the order of layers.json, with dependency-cruiser. Fails when it looked at nothing.
import { readFileSync } from 'node:fs';
import { cruise } from 'dependency-cruiser';
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config';

const { layers } = JSON.parse(readFileSync('layers.json', 'utf8'));
const under = (path) => (path.endsWith('.ts') ? `^${path.replace('.', '\\.')}$` : `^${path}/`);
const forbidden = layers.slice(1).map((layer, i) => ({
  name: `${layer.name}-imports-upward`,
  severity: 'error',
  from: { path: under(layer.path) },
  to: { path: layers.slice(0, i + 1).map((above) => under(above.path)) },
}));
forbidden.push({ name: 'no-circles', severity: 'error', from: {}, to: { circular: true } });
forbidden.push({
  name: 'outside-every-layer',
  severity: 'error',
  from: { path: '^src/', pathNot: layers.map((l) => under(l.path)) },
  to: {},
});

const { output } = await cruise(
  ['src'],
  {
    ruleSet: { forbidden },
    validate: true,
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '\\.test\\.ts$' },
  },
  undefined,
  {
    tsConfig: extractTSConfig('tsconfig.json'),
  },
);
const { summary } = output;
for (const v of summary.violations) console.error(`${v.rule.name}: ${v.from} -> ${v.to}`);
const internal = output.modules.filter((m) => m.source.startsWith('src/'));
const edges = internal.reduce((n, m) => n + m.dependencies.filter((d) => d.resolved.startsWith('src/')).length, 0);
if (internal.length < 10 || edges < 10) {
  console.error(
    `layers: cruised ${internal.length} modules and ${edges} imports only; does dependency-cruiser understand this TypeScript?`,
  );
  process.exit(1);
}
if (summary.error > 0) process.exit(1);
console.log(`layers: ${internal.length} modules, ${edges} imports, all pointing down`);
