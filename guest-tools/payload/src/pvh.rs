//! The PVH entry, for QEMU's `-kernel`: the same program on the bare processor and under KVM.
//!
//! QEMU enters it in 32-bit protected mode without paging (Xen's `docs/misc/pvh.pandoc`), the
//! address of the start information in EBX. This brings the processor to where `vmm payload`
//! starts: long mode, the first 4 GiB mapped to themselves by tables at 0x1000. Their entries allow
//! user access, so that they serve as nested tables too (APM vol. 2 §15.25.5).

/// What is told of the memory: enough for whoever asks, and there on every board.
const MEMORY_BYTES: u32 = 64 << 20;

core::arch::global_asm!(
    ".pushsection .note.pvh, \"a\", @note",
    ".balign 4",
    ".long 4, 8, 18", // Name, descriptor and type: XEN_ELFNOTE_PHYS32_ENTRY.
    ".asciz \"Xen\"",
    ".quad pvh_entry",
    ".popsection",
    ".code32",
    "pvh_entry:",
    "cld",
    // The command line may lie where the tables go: its first 256 bytes move out of their way.
    "movl 24(%ebx), %esi",
    "movl $0x7000, %edi",
    "movl $64, %ecx",
    "rep movsl",
    "movb $0, (%edi)",
    "xorl %eax, %eax",
    "movl $0x1000, %edi",
    "movl $(6 * 1024), %ecx",
    "rep stosl",
    "movl $0x2007, 0x1000",
    "movl $0x3007, 0x2000",
    "movl $0x4007, 0x2008",
    "movl $0x5007, 0x2010",
    "movl $0x6007, 0x2018",
    "movl $0x3000, %edi",
    // Present, writable, user, accessed, dirty, 2 MiB.
    "movl $0xe7, %eax",
    "2:",
    "movl %eax, (%edi)",
    "addl $8, %edi",
    "addl $0x200000, %eax",
    "jnc 2b",
    "movl $0x620, %eax",
    "movl %eax, %cr4",
    "movl $0x1000, %eax",
    "movl %eax, %cr3",
    "movl $0xc0000080, %ecx",
    "rdmsr",
    "orl $0x900, %eax",
    "wrmsr",
    "movl $0x80010033, %eax",
    "movl %eax, %cr0",
    "lgdtl pvh_gdtr",
    "ljmpl $8, $pvh_long",
    ".code64",
    "pvh_long:",
    "movl $0x10, %eax",
    "movl %eax, %ds",
    "movl %eax, %es",
    "movl %eax, %ss",
    "movl $0x7000, %edi",
    "movl $1, %esi",
    "movl ${memory}, %edx",
    "jmp _start",
    ".balign 8",
    "pvh_gdt:",
    ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "pvh_gdtr:",
    ".word 23",
    ".long pvh_gdt",
    memory = const MEMORY_BYTES,
    options(att_syntax),
);
