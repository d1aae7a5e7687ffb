-- What runs often is compiled, where the host lets code be made at run time. Where it does not (systemd's
-- MemoryDenyWriteExecute), LuaJIT would end Envoy with its first try: so what it does is tried here before.
local function may_compile()
  local ffi = require("ffi")
  ffi.cdef[[
    void *mmap(void *address, size_t length, int protection, int flags, int file, long offset);
    int mprotect(void *address, size_t length, int protection);
    int munmap(void *address, size_t length);
  ]]
  local SIZE, READ_WRITE, READ_EXECUTE, PRIVATE_ANONYMOUS = 4096, 3, 5, 0x22
  local page = ffi.C.mmap(nil, SIZE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0)
  local allowed = ffi.C.mprotect(page, SIZE, READ_EXECUTE) == 0
  ffi.C.munmap(page, SIZE)
  return allowed
end

local tried, allowed = pcall(may_compile)
if not (tried and allowed) then jit.off() end
