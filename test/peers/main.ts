/** npm run peers: runs podman, docker, containerd and buildah with runc, crun and keelson-oci, as root, and writes docs/oci-peers.md. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { document } from './report.ts';
import { peersRoot, suites } from './roots.ts';
import { runSuite } from './suite.ts';

const roots = suites.map((suite) => [suite, peersRoot(suite)] as const);
const reports = await Promise.all(roots.map(([suite, root]) => runSuite(suite, root)));
const text = document(reports);
const head = `# keelson-oci under its peers

Written by \`npm run peers\`. podman (with conmon), docker (with containerd and its shim), containerd's \`ctr\` (its shim, runtime v2) and buildah do
the same tasks with runc, crun and keelson-oci, side by side, in Debian roots of two releases; \`npm test -- peers\` fails when keelson-oci gives
anything else than expected where runc or crun doesn't. A number says what was given instead, or why.
`;
writeFileSync(join(import.meta.dirname, '../../docs/oci-peers.md'), `${head}\n${text}`);
console.log(text);
