// Scenes from which the fake can begin: `?fake=practice` and `?fake=community` in the address; without it, in no fog.
import type { DeviceDto, FogDto, RoleDto } from '../bindings';
import { bringDown, create } from './life';
import { advance, emptyWorld, onionOf, type World } from './world';

export type Scene = 'new' | 'practice' | 'community' | 'away' | 'broken';
const ALL: RoleDto[] = ['contribute', 'publish', 'administer'];

export function scene(name: Scene): World {
  const world = emptyWorld();
  if (name === 'new' || name === 'broken') return world;
  if (name === 'practice') enter(world, { name: 'Practice fog', test: true, practice: true, allocator: true, roles: ALL });
  else enter(world, { name: 'Harbour Street', test: name === 'away', practice: false, allocator: false, roles: ALL });
  world.usable = world.devices.length;
  world.clients = name === 'practice' ? 8 : 64;
  if (name === 'practice') return world;
  world.lends = true;
  Object.assign(world.relay, { on: true, state: 'on', month_used_mb: 1234 });
  publishSome(world);
  world.visits = [
    { onion: onionOf(77), words: 'open, 212 ms there and back', trust: 'verified', caught: 1 },
    { onion: onionOf(78), words: 'open, 340 ms there and back', trust: 'not_verified', caught: 0 },
    { onion: onionOf(79), words: 'opening', trust: 'unknown', caught: 0 },
  ];
  if (name === 'away' && world.fog) {
    Object.assign(world.fog, { connected: false, why: 'no answer for 40 s; it is tried again every few seconds' });
  }
  return world;
}

/** Puts the node into a fog with devices. */
export function enter(world: World, fog: Omit<FogDto, 'id' | 'connected' | 'why' | 'relay'>): void {
  world.fog = { id: 'fog-7c1e', connected: true, why: '', relay: null, ...fog };
  const names = fog.practice
    ? ['practice 1', 'practice 2', 'practice 3', 'practice 4', 'practice 5', 'practice 6']
    : [
        'this laptop',
        'kitchen laptop',
        'library-02',
        'library-03',
        'anna’s thinkpad',
        'old macbook',
        'workshop',
        'attic',
        'phone of Ben',
      ];
  world.devices = names.map((name, k) => device(name, k));
}

function device(name: string, k: number): DeviceDto {
  const small = k % 3 === 2;
  const lent = { cpu_cores: small ? 1 : 2, memory_mb: small ? 1024 : 2048, storage_mb: small ? 4000 : 10_000, bandwidth_mbps: 8 };
  const away = k === 7;
  return {
    id: `d${k}4f1c9e7ab20`,
    name,
    connected: !away,
    roles: k === 0 ? ALL : ['contribute'],
    lent: away ? { cpu_cores: 0, memory_mb: 0, storage_mb: 0, bandwidth_mbps: 0 } : lent,
    free: away ? { cpu_cores: 0, memory_mb: 0, storage_mb: 0, bandwidth_mbps: 0 } : { ...lent },
    availability: away ? 0.31 : 0.99 - 0.035 * k,
    reliability: 0.98 - 0.02 * k,
    instances: 0,
    why: away ? 'not connected since 14 minutes' : 'idle and plugged in',
  };
}

function publishSome(world: World): void {
  const size = { cpu_cores: 0.1, memory_mb: 64, storage_mb: 12, bandwidth_mbps: 1 };
  const put = (name: string, copies: number, bytes: number, files: number) =>
    create(world, { name, copies, bytes, files, requirements: size, level: 'balanced' });
  const old = put('Summer fair 2024', 1, 2_400_000, 31);
  put('Tenants’ handbook', 3, 5_310_000, 212);
  put('Harbour Street news', 2, 812_000, 24);
  settle(world);
  bringDown(world, old);
  settle(world);
  for (const [k, c] of world.containers.entries()) {
    const back = (3 - k) * 86_400_000 + 3_600_000;
    c.container.created_ms -= back;
    for (const h of c.history) h.at_ms -= back;
  }
  put('A page for the weekend', 2, 92_000, 6);
}

/** Lets everything that is under way come to its end. */
function settle(world: World): void {
  for (let k = 0; k < 10; k++) advance(world, Date.now() + 60_000);
}
