// Lives of the fake's containers: placement on its devices, the steps of their states, and their ends.
import type { Amounts, ContainerDetailDto, ControlReply, DeviceDto, FitDto, InstanceDto, LevelDto } from '../bindings';
import { follow } from './load';
import { combine, DIMENSIONS, later, minus, NOTHING, onionOf, plus, Refused, share, type World } from './world';

const NAMES = { cpu_cores: 'cpu', memory_mb: 'memory', storage_mb: 'storage', bandwidth_mbps: 'bandwidth' };
const UNITS = { cpu_cores: 'cores', memory_mb: 'MB', storage_mb: 'MB', bandwidth_mbps: 'Mbit/s' };

const lending = (world: World) => world.devices.filter((d) => d.connected && d.lent.cpu_cores > 0);
const takes = (device: DeviceDto, one: Amounts) => DIMENSIONS.every((d) => device.free[d] >= one[d]);

/** The allocator's answer in the words of the real one. */
export function fit(world: World, asked: Amounts, copies: number): FitDto {
  const devices = lending(world);
  const free = devices.reduce((sum, d) => plus(sum, d.free), NOTHING);
  const suitable = devices.filter((d) => takes(d, share(asked, copies))).length;
  const answer = { free, devices: devices.length, suitable };
  const short = DIMENSIONS.filter((d) => asked[d] > free[d]);
  if (short.length === 0 && suitable >= copies) {
    const words = `Fits: ${suitable} of ${devices.length} devices could take a copy.`;
    return { ...answer, fits: true, words, largest: null };
  }
  const missing = short.map((d) => {
    const [a, f] = [`${asked[d]} ${UNITS[d]}`, `${free[d]} ${UNITS[d]}`];
    return `${NAMES[d]}: ${a} asked, ${f} free, ${Math.round((asked[d] - free[d]) * 100) / 100} ${UNITS[d]} short`;
  });
  if (missing.length === 0)
    missing.push(`devices: ${copies} copies asked, ${suitable} ${suitable === 1 ? 'device' : 'devices'} could take one`);
  if (devices.length < copies) {
    return {
      ...answer,
      fits: false,
      words: `It does not fit: ${missing.join('; ')}. A smaller size would not help.`,
      largest: null,
    };
  }
  const roomiest = devices.map((d) => d.free).sort((a, b) => b.memory_mb - a.memory_mb)[copies - 1] ?? NOTHING;
  const largest = combine(asked, roomiest, (a, r) => Math.min(a, Math.floor(r * copies * 100) / 100));
  return { ...answer, fits: false, words: `It does not fit: ${missing.join('; ')}.`, largest };
}

export interface Wish {
  name: string;
  requirements: Amounts;
  copies: number;
  most?: number | undefined;
  level: LevelDto;
  bytes: number;
  files: number;
  private?: boolean;
  direct?: boolean;
}

/** A new container that is placed and then comes up by itself. */
export function create(world: World, wish: Wish): ContainerDetailDto {
  const answer = fit(world, wish.requirements, wish.copies);
  if (!answer.fits) {
    throw new Refused('infeasible', answer.words, 'Ask for less, or wait for more devices. Nothing was created.');
  }
  const number = world.next++;
  const onion = onionOf(number);
  const made: ContainerDetailDto = {
    container: {
      id: `c${number}`,
      name: wish.name,
      onion,
      private: wish.private ?? false,
      direct: wish.direct ?? false,
      state: 'pending',
      reason: 'created',
      ready: 0,
      wanted: wish.copies,
      created_ms: Date.now(),
    },
    link: `fogbank://${onion}?via=k5xq3w7m2p@192.0.2.7:4810${wish.private ? '&key=qx7c2nveh5' : ''}`,
    requirements: wish.requirements,
    availability: null,
    expected_availability: 0.97,
    most: null,
    load: null,
    level: wish.level,
    bytes: wish.bytes,
    files: wish.files,
    holders: 0,
    placement: 'not placed yet',
    history: [],
    instances: [],
    revision: Date.now(),
    update: null,
    back: false,
  };
  follow(made, wish.copies, wish.most);
  world.containers.unshift(made);
  move(made, 'pending', 'created by its publisher');
  bringUp(world, made);
  return made;
}

export function move(detail: ContainerDetailDto, state: string, reason: string): void {
  detail.container.state = state;
  detail.container.reason = reason;
  detail.history.push({ at_ms: Date.now(), state, reason });
}

function count(detail: ContainerDetailDto): void {
  detail.container.ready = detail.instances.filter((i) => i.state === 'ready').length;
}

/** From pending to running: each step follows only if nothing else happened meanwhile. */
export function bringUp(world: World, detail: ContainerDetailDto): void {
  const wanted = detail.container.wanted;
  const one = share(detail.requirements, wanted);
  const step = (after_ms: number, from: string, happens: () => void) =>
    later(world, after_ms, () => {
      if (detail.container.state === from) happens();
    });
  step(600, 'pending', () => {
    const hosts = lending(world)
      .filter((d) => takes(d, one))
      .slice(0, wanted);
    for (const host of hosts) {
      host.free = minus(host.free, one);
      host.instances++;
      detail.instances.push(instance(world, detail, host, one));
    }
    detail.placement = `${hosts.length} devices by cost 5.1 (lower bound 5.0, gap 2 %); limited by memory`;
    move(detail, 'allocating', `reserving on ${hosts.map((h) => h.name).join(' and ')}`);
  });
  step(1400, 'allocating', () => {
    for (const i of live(detail)) [i.state, i.reason] = ['fetching', 'fetching the content'];
    move(detail, 'starting', 'all devices confirmed');
  });
  for (let k = 0; k < wanted; k++) {
    later(world, 2200 + 700 * k, () => {
      const i = live(detail)[k];
      if (!i || i.state !== 'fetching') return;
      [i.state, i.reason] = ['ready', 'serves'];
      detail.holders++;
      count(detail);
      if (detail.container.state === 'starting') move(detail, 'running', `${detail.container.ready} of ${wanted} ready`);
      else detail.container.reason = `${detail.container.ready} of ${wanted} ready`;
    });
  }
}

/** Other content comes under its address, copy by copy; what was there before can be gone back to. */
export function update(world: World, detail: ContainerDetailDto, folder_bytes: number | null): ControlReply {
  if (folder_bytes === null && !detail.back) throw new Refused('invalid', 'no content of before is kept here');
  const bytes = folder_bytes ?? detail.bytes;
  const revision = Math.max(Date.now(), detail.revision + 1);
  const copies = live(detail);
  const how = (state: string, words: string, ready: number) =>
    (detail.update = { revision, state, words, ready, wanted: copies.length, began_ms: Date.now(), bytes });
  how('coming', 'the first copies of the new content come up', 0);
  later(world, 1500, () => {
    [detail.revision, detail.bytes, detail.back] = [revision, bytes, true];
    copies.forEach((copy, k) => {
      later(world, 1500 * k, () => {
        copy.revision = revision;
        const [ready, all] = [k + 1, copies.length];
        if (ready < all) how('moving', `${ready} of ${all} copies serve the new content`, ready);
        else how('served', 'every copy serves it', ready);
      });
    });
  });
  return { reply: 'updated', value: { revision } };
}

/** Ends all copies; the container is stopped a moment later. */
export function bringDown(world: World, detail: ContainerDetailDto): void {
  move(detail, 'stopping', 'stopped by its publisher');
  for (const i of live(detail)) [i.state, i.reason] = ['draining', 'finishing requests'];
  count(detail);
  later(world, 1200, () => {
    if (detail.container.state !== 'stopping') return;
    release(world, detail);
    move(detail, 'stopped', 'all copies ended');
  });
}

/** Gives back what its copies held. */
export function release(world: World, detail: ContainerDetailDto): void {
  for (const i of live(detail)) {
    const device = world.devices.find((d) => d.id === i.device);
    if (device) {
      device.free = plus(device.free, i.given);
      device.instances--;
    }
    [i.state, i.reason] = ['ended', 'stopped by its publisher'];
  }
  count(detail);
}

const live = (detail: ContainerDetailDto) => detail.instances.filter((i) => i.state !== 'ended' && i.state !== 'lost');

function instance(world: World, detail: ContainerDetailDto, device: DeviceDto, given: Amounts): InstanceDto {
  const id = `i${world.next++}`;
  const { id: container } = detail.container;
  const { revision } = detail;
  return { id, container, device: device.id, device_name: device.name, state: 'reserved', reason: 'reserved', given, revision };
}

/** Starts one again that has stopped or failed. */
export function restart(world: World, detail: ContainerDetailDto): void {
  if (!['stopped', 'failed'].includes(detail.container.state))
    throw new Refused('invalid', `it is ${detail.container.state}, not stopped`);
  move(detail, 'pending', 'started again by its publisher');
  bringUp(world, detail);
}
