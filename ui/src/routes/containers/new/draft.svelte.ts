// A container that is being thought out: what is asked for, what the folder holds, and what the allocator says to it.
import type { Amounts, FitDto, FolderDto, LevelDto } from '$host';
import { ask, errorOf } from '$live/ask';
import { Deed } from '$live/deed.svelte';
import { failed, known, ready, WAITING, type Remote } from '$live/remote';
import { floorTo } from './stops';

export const DEBOUNCE_MS = 250;
/** How often the allocator is asked again although nothing was changed here: devices come and go. */
const AGAIN_MS = 5_000;
/** As the node has it (`ContainerName::MAX_CHARS`). */
export const MAX_NAME_CHARS = 64;

export const DIMENSIONS = [
  { key: 'cpu_cores', word: 'cpu', least: 0.05, decimals: 2 },
  { key: 'memory_mb', word: 'memory', least: 16, decimals: 0 },
  { key: 'storage_mb', word: 'storage', least: 1, decimals: 0 },
  { key: 'bandwidth_mbps', word: 'bandwidth', least: 0.1, decimals: 1 },
] as const;

/** Storage for all copies: each holds the folder, rounded up, and 1 MB of its own. */
export function storageFor(bytes: number, copies: number): number {
  return Math.max(10, (Math.ceil(bytes / 1e6) + 1) * copies);
}

/** What is wrong with a name; null when nothing is. */
export function faultOfName(name: string): 'empty' | 'long' | null {
  const chars = [...name.trim()].length;
  return chars === 0 ? 'empty' : chars > MAX_NAME_CHARS ? 'long' : null;
}

export class Draft {
  path = $state('');
  folder = $state.raw<Remote<FolderDto> | null>(null);
  name = $state('');
  copies = $state(2);
  level = $state<LevelDto>('balanced');
  /** Only for people who have the link with its key. */
  private = $state(false);
  /** Visitors may come without mixes; nothing private offers that. */
  direct = $state(false);
  amounts = $state<Amounts>({ cpu_cores: 0.1, memory_mb: 64, storage_mb: storageFor(0, 2), bandwidth_mbps: 1 });
  fit = $state.raw<Remote<FitDto>>(WAITING);
  readonly publishing = new Deed();

  /** What a person has set by hand is not proposed anew. */
  #nameByHand = false;
  #storageByHand = false;
  /** Answers to older questions are dropped. */
  #folderRound = 0;
  #fitRound = 0;

  get bytes(): number {
    return this.folder?.is === 'ready' ? this.folder.value.bytes : 0;
  }

  get free(): Amounts | null {
    return known(this.fit)?.free ?? null;
  }

  /** What is still missing before it can be put online. */
  get missing(): 'folder' | 'name' | 'fit' | null {
    if (this.folder?.is !== 'ready') return 'folder';
    if (faultOfName(this.name)) return 'name';
    return this.fit.is === 'ready' && this.fit.value.fits ? null : 'fit';
  }

  setName(name: string): void {
    this.name = name;
    this.#nameByHand = name.trim() !== '';
  }

  setAmount(key: keyof Amounts, amount: number): void {
    this.amounts[key] = amount;
    if (key === 'storage_mb') this.#storageByHand = true;
  }

  setCopies(copies: number): void {
    this.copies = copies;
    this.#proposeStorage();
  }

  /** Looks into a folder. */
  async choose(path: string): Promise<void> {
    const round = ++this.#folderRound;
    this.path = path;
    const trimmed = path.trim();
    this.folder = trimmed === '' ? null : WAITING;
    if (trimmed === '') return;
    let answer: Remote<FolderDto>;
    try {
      answer = ready(await ask({ ask: 'folder', path: trimmed }, 'folder'));
    } catch (thrown) {
      answer = failed(errorOf(thrown), WAITING);
    }
    if (round !== this.#folderRound) return;
    this.folder = answer;
    if (answer.is !== 'ready') return;
    if (!this.#nameByHand) this.name = [...answer.value.name].slice(0, MAX_NAME_CHARS).join('');
    this.#proposeStorage();
  }

  /** Asks the allocator about what is wished now: in a moment, and then again and again. For `$effect`, which sees what is read. */
  followFit(): () => void {
    const request = { ask: 'fit' as const, requirements: { ...this.amounts }, instances: this.copies, bytes: this.bytes };
    const round = ++this.#fitRound;
    let timer: ReturnType<typeof setTimeout>;
    const look = async () => {
      let answer: Remote<FitDto>;
      try {
        answer = ready(await ask(request, 'fit'));
      } catch (thrown) {
        answer = failed(errorOf(thrown), this.fit);
      }
      if (round !== this.#fitRound) return;
      this.fit = answer;
      timer = setTimeout(() => void look(), AGAIN_MS);
    };
    timer = setTimeout(() => void look(), DEBOUNCE_MS);
    return () => {
      this.#fitRound++;
      clearTimeout(timer);
    };
  }

  useLargest(largest: Amounts): void {
    for (const { key, decimals } of DIMENSIONS) this.amounts[key] = floorTo(largest[key], decimals);
    this.#storageByHand = true;
  }

  /** Puts it online; the id of what was created, or null when it failed. */
  async publish(): Promise<string | null> {
    let id: string | null = null;
    await this.publishing.run(async () => {
      const { path, name, copies, level, private: locked } = this;
      const direct = this.direct && !locked;
      const requirements = { ...this.amounts };
      const folder = path.trim();
      const made = await ask(
        { ask: 'publish', folder, name: name.trim(), requirements, instances: copies, level, private: locked, direct },
        'created',
      );
      id = made.id;
    });
    return id;
  }

  #proposeStorage(): void {
    if (!this.#storageByHand) this.amounts.storage_mb = storageFor(this.bytes, this.copies);
  }
}
