// A fake node in memory, for a browser without the app and for tests: states move with time, refusals are given as the real one's.
// It checks nothing of security or networks, and promises nothing about the real node's numbers.
import type { ControlReply, ControlRequest, FolderDto, LendDto } from './bindings';
import type { Host, Startup } from './host';
import { explained, rehearsed } from './fake/foresight';
import { bringDown, bringUp, create, fit, release, restart, update } from './fake/life';
import { load, rescale } from './fake/load';
import { privacy } from './fake/privacy';
import { enter, scene, type Scene } from './fake/scenes';
import { advance, later, NOTHING, Refused, type World } from './fake/world';

export interface FakeHost extends Host {
  /** Everything that was copied, the newest last. */
  copied: string[];
  /** All that was asked, in order. */
  asked: ControlRequest[];
  world: World;
  /** Drops a path on the window. */
  drop(path: string): void;
  /** When set, calls to the node reject: it is gone. */
  gone: boolean;
  /** What startup tells. */
  starts: Startup;
}

/** How long answers take: long enough to see the waiting states, none in tests. */
export function fakeHost(name: Scene = sceneOfAddress(), delay_ms = 120): FakeHost {
  const listeners = new Set<(path: string) => void>();
  const broken: Startup = {
    state: 'failed',
    what: 'the profile is damaged: identity.json can’t be read',
    todo: 'Restore it from a backup.',
  };
  const fake: FakeHost = {
    copied: [],
    asked: [],
    world: scene(name),
    gone: false,
    starts: name === 'broken' ? broken : { state: 'ready', hosted: true, profile: '/home/you/.local/share/fogbank' },
    startup: async () => fake.starts,
    async call(request) {
      fake.asked.push(request);
      if (delay_ms > 0) await new Promise((resolve) => setTimeout(resolve, delay_ms));
      if (fake.gone) throw new Error('the control socket is closed');
      advance(fake.world, Date.now());
      try {
        // A copy, as over a wire: pages can't hold on to the fake's own objects.
        return structuredClone(await answer(fake.world, request, delay_ms));
      } catch (thrown) {
        if (thrown instanceof Refused) return { reply: 'failed', value: thrown.error };
        throw thrown;
      }
    },
    chooseFolder: async () => '/home/you/my-site',
    async copy(copied) {
      fake.copied.push(copied);
    },
    onFolderDropped(callback) {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
    drop: (path) => listeners.forEach((callback) => callback(path)),
  };
  return fake;
}

const DONE: ControlReply = { reply: 'done' };

async function answer(world: World, request: ControlRequest, delay_ms: number): Promise<ControlReply> {
  switch (request.ask) {
    case 'status':
      return { reply: 'status', value: status(world) };
    case 'practice':
      await new Promise((resolve) => setTimeout(resolve, delay_ms * 12));
      enter(world, {
        name: 'Practice fog',
        test: true,
        practice: true,
        allocator: true,
        roles: ['contribute', 'publish', 'administer'],
      });
      world.usable = 2;
      later(world, 4000, () => (world.usable = world.devices.length));
      return DONE;
    case 'start_fog':
      if (!request.name.trim()) throw new Refused('invalid', 'the name is empty', 'Give the fog a name.');
      enter(world, {
        name: request.name,
        test: request.test,
        practice: false,
        allocator: true,
        roles: ['contribute', 'publish', 'administer'],
      });
      return DONE;
    case 'join':
      if (!request.ticket.startsWith('fogbank1')) {
        throw new Refused(
          'invalid',
          'this is no ticket: it does not begin with fogbank1',
          'Copy the whole ticket and paste it again.',
        );
      }
      enter(world, { name: 'Harbour Street', test: false, practice: false, allocator: false, roles: ['contribute', 'publish'] });
      world.usable = world.devices.length;
      return DONE;
    case 'leave':
      Object.assign(world, scene('new'));
      return DONE;
    case 'visit':
      if (!request.link.startsWith('fogbank://'))
        throw new Refused('invalid', 'this is no fogbank:// link', 'Copy the whole link and paste it again.');
      world.visits.push({ onion: request.link.slice(10).split('?')[0] ?? '', words: 'open', trust: 'verified', caught: 0 });
      return DONE;
    case 'lend':
      inFog(world);
      world.lends = request.on;
      world.lendsDirectly = request.on && (request.direct ?? false);
      return DONE;
    case 'relay':
      inFog(world);
      Object.assign(world.relay, { on: request.on, state: request.on ? 'on' : 'off' });
      return DONE;
    case 'relay_limits':
      Object.assign(world.relay, { rate_kb_s: request.rate_kb_s, month_gb: request.month_gb });
      return DONE;
    case 'pause':
      world.paused = request.on;
      return DONE;
    case 'drain':
      world.draining = request.on;
      return DONE;
    case 'invite':
      connected(world);
      return { reply: 'ticket', value: `fogbank1${'qx7c2nveh5'.repeat(14)}` };
    case 'folder':
      return { reply: 'folder', value: folder(request.path) };
    case 'fit':
      connected(world);
      return { reply: 'fit', value: fit(world, request.requirements, request.instances) };
    case 'explain':
      return { reply: 'explained', value: explained(world) };
    case 'rehearse':
      return { reply: 'rehearsed', value: rehearsed(world) };
    case 'publish': {
      connected(world);
      const { files, bytes } = folder(request.folder);
      if (!request.name.trim()) throw new Refused('invalid', 'the name is empty', 'Give it a name.');
      for (let k = 0; k < 10 && delay_ms > 0; k++) {
        world.progress = {
          step: k < 4 ? 'reading files' : 'copying to a first device',
          done_bytes: (bytes * k) / 10,
          total_bytes: bytes,
        };
        await new Promise((resolve) => setTimeout(resolve, delay_ms * 2));
      }
      world.progress = null;
      const { name, requirements, instances: copies, level, private: locked, direct, most } = request;
      const made = create(world, { name, requirements, copies, most, level, bytes, files, private: locked, direct });
      return { reply: 'created', value: { id: made.container.id, onion: made.container.onion } };
    }
    case 'progress':
      return { reply: 'progress', value: world.progress };
    case 'containers':
      connected(world);
      return { reply: 'containers', value: world.containers.map((c) => c.container) };
    case 'container':
      connected(world);
      return { reply: 'container', value: find(world, request.id) };
    case 'load':
      return { reply: 'load', value: load(find(world, request.id), request.span) };
    case 'update':
      connected(world);
      return update(world, find(world, request.id), request.folder ? folder(request.folder).bytes : null);
    case 'scale': {
      connected(world);
      const scaled = find(world, request.id);
      rescale(scaled, request);
      bringUp(world, scaled);
      return DONE;
    }
    case 'remove':
      connected(world);
      world.devices = world.devices.filter((d) => d.id !== request.device);
      return request.undo ? DONE : { reply: 'removed', value: 1 };
    case 'stop':
      connected(world);
      bringDown(world, find(world, request.id));
      return DONE;
    case 'restart':
      connected(world);
      restart(world, find(world, request.id));
      return DONE;
    case 'delete': {
      connected(world);
      const found = find(world, request.id);
      release(world, found);
      world.containers.splice(world.containers.indexOf(found), 1);
      return DONE;
    }
    case 'devices':
      if (!connected(world).roles.includes('administer')) throw new Refused('refused', 'only administrators may see the devices');
      return { reply: 'devices', value: world.devices };
    case 'network':
      return { reply: 'network', value: network(world) };
    case 'federation':
    case 'federate':
    case 'end_federation':
    case 'need_witnesses':
    case 'let_witnesses':
    case 'abandon_witnesses':
      throw new Refused('invalid', 'the window does not federate fogs yet', 'Use fogbankd federation.');
    case 'quit':
      return DONE;
  }
}

function inFog(world: World) {
  if (!world.fog) throw new Refused('no_fog', 'this node is in no fog', 'Start a fog, or join one with a ticket.');
  return world.fog;
}

function connected(world: World) {
  const fog = inFog(world);
  if (fog.connected) return fog;
  const todo = 'What runs goes on. This works again when the allocator is back.';
  throw new Refused('allocator_away', `the fog's allocator is away: ${fog.why}`, todo);
}

function find(world: World, id: string) {
  const found = world.containers.find((c) => c.container.id === id);
  if (!found) throw new Refused('not_found', 'you have no such container');
  return found;
}

function status(world: World) {
  const { fog } = world;
  const relaying = world.relay.state;
  return { version: '0.1.0', pid: 4711, device: 'd04f1c9e7ab20', fog, lend: lend(world), relaying, proxy: '127.0.0.1:9250' };
}

function lend(world: World): LendDto | null {
  if (!world.lends) return null;
  const { paused, draining } = world;
  const open = !paused && !draining;
  const why = paused ? 'paused by its owner' : draining ? 'being drained: its owner asked' : 'lends what is free';
  const here = world.devices[0];
  const all = world.containers.flatMap((c) => c.instances);
  const instances = all.filter((i) => i.device === here?.id && i.state !== 'ended' && i.state !== 'lost');
  const lent = paused ? NOTHING : (here?.lent ?? NOTHING);
  return { open, why, paused, draining, direct: world.lendsDirectly, lent, instances };
}

function network(world: World) {
  const needed = world.fog?.test ? 4 : 7;
  const waiting = world.usable >= needed ? '' : `waiting for mixes: ${world.usable} of ${needed} are usable`;
  const peers = world.fog
    ? [3, 5].map((k) => ({ mix: `m${k}c07be2219d`, addr: `192.0.2.${k}:4810`, up: k !== 5, way: k !== 5 ? 'direct' : 'none' }))
    : [];
  const mix_counters = world.relay.on ? { packets_in: 18_422, packets_out: 18_397, dropped: 25, replayed: 0 } : {};
  return {
    usable: world.usable,
    needed,
    waiting,
    mixes: world.devices.length,
    privacy: world.fog ? privacy(world) : null,
    visits: world.visits,
    own_mix: 'e41c77d09a',
    relay: world.relay,
    mix_counters: mix_counters as Record<string, number>,
    visit_counters: { sent: 1204, received: 1187, garbled: 0 },
    host_counters: {},
    peers,
    own_addrs: ['192.0.2.10:40112'],
    host_peers: [],
    host_addrs: [],
  };
}

/** Folders that the fake knows: by their last name. */
function folder(path: string): FolderDto {
  const name = path.replace(/\/+$/, '').split('/').pop() ?? '';
  if (!path.startsWith('/'))
    throw new Refused('invalid', `${path} is no absolute path`, 'Choose the folder, or write its whole path.');
  if (name === 'empty') {
    throw new Refused(
      'invalid',
      `the folder ${path} has no index.html: visitors need a first page`,
      'Add an index.html and choose the folder again.',
    );
  }
  if (name === 'huge') return { name, files: 900, bytes: 4_000_000_000 };
  return { name, files: 24, bytes: 3_410_000 };
}

function sceneOfAddress(): Scene {
  return (new URLSearchParams(window.location.search).get('fake') as Scene | null) ?? 'new';
}
