import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeelsonError } from '../ground/errors.ts';
import { parseImageConfig, parseManifest } from './image.ts';
import { mediaTypes } from './media-types.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
const config = { mediaType: mediaTypes.ociConfig, digest, size: 10 };
const layer = { mediaType: mediaTypes.ociLayerGzip, digest, size: 20 };
function bytes(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
}

function refusal(value: unknown, mediaType?: string): string {
  try {
    parseManifest(bytes(value), mediaType, 'manifest of x');
  } catch (error) {
    assert.ok(error instanceof KeelsonError, String(error));
    return `${error.code}: ${error.message}`;
  }
  throw new Error('was accepted');
}

test('a manifest without a media type of its own is what it was announced as', () => {
  const plain = { schemaVersion: 2, config, layers: [layer] };
  const parsed = parseManifest(bytes(plain), mediaTypes.ociManifest, 'x');
  assert.deepEqual(parsed.kind === 'manifest' && parsed.manifest.layers, [layer]);
  assert.equal(parseManifest(bytes({ schemaVersion: 2, manifests: [] }), undefined, 'x').kind, 'index');
});

test('manifests that are wrong are refused with the place and the reason', () => {
  const good = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] };
  const refused: [value: unknown, message: RegExp][] = [
    ['{', /^corrupt: manifest of x: is not JSON/],
    ['null', /expected an object, got null/],
    [[], /expected an object/],
    ['7', /expected an object, got 7/],
    [Buffer.from([0x22, 0xff, 0x22]), /is not JSON/],
    [{ ...good, schemaVersion: 3 }, /schemaVersion: expected an integer from 2 to 2, got 3/],
    [{ ...good, config: undefined }, /config: is missing/],
    [{ ...good, layers: [{ ...layer, size: -1 }] }, /layers\[0\]\.size: expected an integer/],
    [{ ...good, layers: [{ ...layer, size: 1e300 }] }, /layers\[0\]\.size: expected an integer/],
    [{ ...good, layers: [{ ...layer, digest: 'sha256:../../etc' }] }, /layers\[0\]\.digest: expected a digest/],
    [{ ...good, layers: [{ ...layer, digest: digest.toUpperCase() }] }, /layers\[0\]\.digest: expected a digest/],
    [{ ...good, layers: [{ ...layer, mediaType: 'text/html' }] }, /layers\[0\] is of type text\/html/],
    [{ ...good, layers: Array.from({ length: 501 }, () => layer) }, /layers: expected 0 to 500 entries, got 501/],
    [
      { ...good, config: { ...config, mediaType: 'application/vnd.oci.empty.v1+json' } },
      /^unsupported: .*is not an image: its config is of type application\/vnd\.oci\.empty/,
    ],
    [{ ...good, manifests: [] }, /is both an image manifest and an index/],
    [
      { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [], layers: [] },
      /both an image manifest and an index/,
    ],
    [{ ...good, mediaType: 'application/vnd.cncf.helm' }, /^unsupported: .*not that of an image/],
    [{ ...good, mediaType: 'a/b\u001b[2J' }, /media type "a\/b\\u001b\[2J" is not that of an image/],
    [
      { ...good, layers: [{ ...layer, mediaType: 'a/b\u001b[2J' }] },
      /layers\[0\]\.mediaType: expected a media type, got "a\/b\\u001b/,
    ],
    [{ schemaVersion: 1, fsLayers: [] }, /^unsupported: .*manifest format version 1/],
  ];
  for (const [value, message] of refused) {
    assert.match(refusal(value), message);
  }
  assert.match(refusal(good, mediaTypes.ociIndex), /was announced as application\/vnd\.oci\.image\.index/);
});

test('a config may hold null where Go has an empty slice or map, and unknown properties are dropped', () => {
  const parsed = parseImageConfig(
    bytes({
      architecture: 'amd64',
      os: 'linux',
      config: { Env: null, Cmd: ['sh'], Labels: null, ExposedPorts: { '80/tcp': {} }, Unknown: 1, User: '' },
      rootfs: { type: 'layers', diff_ids: [digest] },
      history: null,
    }),
    'x',
  );
  assert.deepEqual(parsed.config?.Cmd, ['sh']);
  assert.deepEqual(Object.keys(parsed.config?.ExposedPorts ?? {}), ['80/tcp']);
  assert.deepEqual(Object.keys(parsed.config ?? {}), ['ExposedPorts', 'Cmd']);
});

test('a config whose values are of the wrong type is refused', () => {
  const base = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digest] } };
  const refused: [value: unknown, message: RegExp][] = [
    [{ ...base, rootfs: { type: 'tar', diff_ids: [] } }, /rootfs\.type: expected one of layers/],
    [{ ...base, rootfs: { type: 'layers', diff_ids: ['x'] } }, /rootfs\.diff_ids\[0\]: expected a digest/],
    [{ ...base, os: 'lin ux' }, /os: expected a word/],
    [{ ...base, config: { Cmd: 'sh' } }, /config\.Cmd: expected an array/],
    [{ ...base, config: { Env: ['A=\0'] } }, /config\.Env\[0\]: contains a NUL byte/],
    [{ ...base, config: { Labels: { a: 1 } } }, /config\.Labels\.a: expected a string/],
  ];
  for (const [value, message] of refused) assert.throws(() => parseImageConfig(bytes(value), 'config of x'), message);
});
