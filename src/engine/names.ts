import { randomBytes, randomInt } from '../ground/crypto.ts';
import { KeelsonError } from '../ground/errors.ts';

// Qualities of ships, weather and water; people who built, sailed, charted or signalled.
const adjectives =
  `able afloat agile amber ample ardent azure balmy bold bracing brave breezy bright brisk buoyant calm candid
clear clever coastal cool coral daring deep deft distant eager early easy even fair fast fearless fine firm fleet fluent
fond frank fresh gallant gentle glad golden grand green hale handy hardy hearty honest humble ivory jaunty jolly keen kind
lasting leeward limpid lively lofty loyal lucid mellow merry mighty mild modest nautical neat nimble noble northern patient
placid plain polar proud prudent quick quiet radiant rapid ready rested robust round rugged salty seaworthy serene sharp
silver sleek smooth snug solid sound southern sparkling spry stable steady stellar still stout strong sturdy sunny supple
sure swift tidal tidy timely tranquil trim true trusty upbeat upright valiant vast vivid warm watchful wary western windy
wise witty woven zealous zesty`.split(/\s+/);

const surnames =
  `agnesi amundsen anning archimedes avicenna baret barents bascom beaufort bering bernoulli boole bowditch
brahmagupta brunel cabot carpenter chichester clapeyron clark columb cook cousteau curie dampier darwin davis diaz drake
earhart earle eratosthenes euler faraday fitzroy flamsteed flinders fourier franklin frobisher froude fulton galileo gama
garnet germain halley harrison hawkins henry heyerdahl hopper hudson humboldt huygens hypatia idrisi jones kepler kelvin
lagrange laperouse laplace leavitt lovelace magellan marconi maury maxwell mercator messier mitchell moitessier morse nansen
napier newton noether nobel ohm papin park peary piri pytheas ptolemy raleigh ride ross sabine scoresby scott semmes
shackleton slocum smeaton sobel somerville stokes stevin tabei tasman tereshkova tharp torricelli tycho vancouver vespucci
villiers volta wallis watt wegener weddell wilkes yourcenar zheng`.split(/\s+/);

/** Two words joined by an underscore, as docker names what its user doesn't; from the third attempt with a digit. */
export function randomName(attempt: number): string {
  const name = `${adjectives[randomInt(adjectives.length)]}_${surnames[randomInt(surnames.length)]}`;
  return attempt < 2 ? name : `${name}${randomInt(10 ** Math.min(attempt - 1, 9))}`;
}

/** 64 hexadecimal digits. The short form (12) always has a letter, so that nothing takes it for a number. */
export function randomId(): string {
  for (;;) {
    const id = randomBytes(32).toString('hex');
    if (!/^\d+$/.test(id.slice(0, 12))) return id;
  }
}

/** What people see of an id. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** The name without the slash that docker's API puts before it; throws `invalid-argument`. */
export function checkName(name: string): string {
  const bare = name.startsWith('/') ? name.slice(1) : name;
  if (!namePattern.test(bare) || bare.length > 255) {
    throw new KeelsonError(
      'invalid-argument',
      `Invalid container name (${printable(bare)}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    );
  }
  return bare;
}

/** Foreign text for a message: control characters escaped, cut to a line's length. */
export function printable(text: string): string {
  const escaped = text.replaceAll(/[^\x20-\x7e\u00a0-\uffff]/g, (c) => `\\x${(c.codePointAt(0) ?? 0).toString(16)}`);
  return escaped.length > 200 ? `${escaped.slice(0, 200)}…` : escaped;
}
