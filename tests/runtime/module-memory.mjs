// Counts the memory of the WebAssembly modules that this isolate runs. Whoever imports it does so before the Worker's module.

const memories = [];
const Instance = WebAssembly.Instance;
WebAssembly.Instance = class extends Instance {
  constructor(...all) {
    super(...all);
    memories.push(this.exports.memory);
  }
};

/** Bytes of it all: it never shrinks. */
export const bytesOfModules = () => memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
