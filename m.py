import mmap, numpy as np, os
f='/tmp/many_try/sparse.bin'
with open(f,'wb') as h: h.truncate(100<<30)
try:
    a=np.memmap(f,np.uint8,mode='c',shape=(100<<30,)); print('c ok')
except Exception as e: print('c', repr(e))
print([n for n in dir(mmap) if n.startswith('MAP_')])
with open(f,'rb') as h:
    for flag in (0,0x4000):
        try:
            p=mmap.mmap(h.fileno(),0,flags=mmap.MAP_PRIVATE|flag,prot=mmap.PROT_READ|mmap.PROT_WRITE); print(flag,'ok'); p.close()
        except Exception as e: print(flag, repr(e))
    p=mmap.mmap(h.fileno(),0,access=mmap.ACCESS_READ); print('read ok')
os.unlink(f)
