-- How a device has behaved, as the allocator counts it: bytes of its own format. Null while nothing is known.
ALTER TABLE devices ADD COLUMN conduct BLOB;
