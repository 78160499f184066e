using System.Buffers.Binary;
using System.Text;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>What a thread and a block of a kernel take of a multiprocessor, as the assembler settled it.</summary>
/// <param name="Registers">Registers of a thread.</param>
/// <param name="StaticSharedBytes">Shared memory of a block that the code itself declares.</param>
/// <param name="LocalBytes">Stack of a thread: spilled registers and arrays that are indexed.</param>
/// <param name="MaxThreads">The most threads that a block may have.</param>
internal sealed record KernelResources(int Registers, int StaticSharedBytes, int LocalBytes, int MaxThreads)
{
    /// <summary>As the driver tells them of a loaded kernel.</summary>
    public static KernelResources Of(CudaKernel kernel) =>
        new(kernel.Registers, kernel.StaticSharedBytes, kernel.LocalBytes, kernel.MaxThreadsPerBlock);

    /// <summary>As a cubin holds them, so that neither a device nor an assembler is needed to tell.</summary>
    /// <param name="cubin">The machine code, an ELF file of 64 bits.</param>
    /// <param name="kernel">The kernel's name in it.</param>
    /// <param name="architecture">What it was compiled for.</param>
    /// <exception cref="InvalidDataException">It is no cubin, is damaged, or has no such kernel.</exception>
    public static KernelResources OfCubin(ReadOnlySpan<byte> cubin, string kernel, ComputeCapability architecture)
    {
        var file = new Cubin(cubin);
        int symbol = file.FindSymbol(kernel);
        int? registers = file.Attribute(Cubin.InfoSection, Cubin.RegisterCount, symbol);
        if (registers is null) throw new InvalidDataException($"the cubin does not tell the registers of {kernel}");
        long shared = file.FindSection($".nv.shared.{kernel}")?.Size ?? 0;
        // From sm_90 on the section begins with what the system keeps of each block.
        if (architecture.Major >= 9) shared = Math.Max(0, shared - Cubin.KeptSharedBytes);
        return new KernelResources(
            registers.Value, (int)shared, file.Attribute(Cubin.InfoSection, Cubin.FrameSize, symbol) ?? 0,
            file.Attribute($"{Cubin.InfoSection}.{kernel}", Cubin.MaxThreads) ?? DefaultMaxThreads);
    }

    private const int DefaultMaxThreads = 1024;

    /// <summary>The parts of an ELF file that tell of kernels: sections by name, symbols, and NVIDIA's lists of attributes.</summary>
    private readonly ref struct Cubin
    {
        public const string InfoSection = ".nv.info";
        public const int KeptSharedBytes = 1024;

        // Attributes of a kernel. Each names the kernel's symbol in .nv.info, or stands in a section of the kernel's own.
        public const byte MaxThreads = 0x05, FrameSize = 0x11, RegisterCount = 0x2f;

        // How an attribute's value follows: in its own two bytes, or in as many as these say.
        private const byte SizedValue = 0x04;

        private const int HeaderBytes = 64, SectionBytes = 64, SymbolBytes = 24, AttributeBytes = 4;
        private const int Cuda = 190, NoBits = 8;

        private readonly ReadOnlySpan<byte> _file;
        private readonly Dictionary<string, Section> _sections = [];

        public Cubin(ReadOnlySpan<byte> file)
        {
            _file = file;
            // 64 bits, little-endian.
            bool isElf = file.Length >= HeaderBytes && file[..4].SequenceEqual("\u007fELF"u8) && file[4] == 2 && file[5] == 1;
            if (!isElf || UInt16(18) != Cuda) throw new InvalidDataException("this is no cubin: an ELF file of 64 bits for CUDA is expected");
            long table = (long)UInt64(40);
            int count = UInt16(60);
            Section names = ReadSection(table, UInt16(62));
            for (int i = 0; i < count; i++)
            {
                Section section = ReadSection(table, i);
                _sections.TryAdd(Text(names, section.Name), section);
            }
        }

        public Section? FindSection(string name) => _sections.TryGetValue(name, out Section section) ? section : null;

        /// <summary>A symbol's number.</summary>
        public int FindSymbol(string name)
        {
            if (FindSection(".symtab") is { } symbols && FindSection(".strtab") is { } strings)
            {
                for (int i = 0; i < symbols.Size / SymbolBytes; i++)
                {
                    if (Text(strings, UInt32(symbols.Offset + i * SymbolBytes)) == name) return i;
                }
            }
            throw new InvalidDataException($"the cubin has no kernel {name}");
        }

        /// <summary>The first word of an attribute, or, where it belongs to a symbol, the word behind that.</summary>
        public int? Attribute(string section, byte attribute, int? symbol = null)
        {
            if (FindSection(section) is not { } list) return null;
            for (long at = list.Offset; at + AttributeBytes <= list.Offset + list.Size;)
            {
                long value = at + AttributeBytes;
                int bytes = Byte(at) == SizedValue ? UInt16(at + 2) : 0;
                bool isWanted = Byte(at) == SizedValue && Byte(at + 1) == attribute && bytes >= (symbol is null ? 4 : 8);
                if (isWanted && symbol is null) return (int)UInt32(value);
                if (isWanted && UInt32(value) == symbol) return (int)UInt32(value + 4);
                at = value + bytes;
            }
            return null;
        }

        private Section ReadSection(long table, int index)
        {
            long at = table + (long)index * SectionBytes;
            var section = new Section(UInt32(at), (long)UInt64(at + 24), (long)UInt64(at + 32));
            bool isInFile = section.Offset >= 0 && section.Offset <= _file.Length - section.Size;
            return section.Size is >= 0 and <= int.MaxValue && (isInFile || UInt32(at + 4) == NoBits) ? section : throw Damaged();
        }

        private string Text(in Section strings, uint offset)
        {
            if (offset >= strings.Size) throw Damaged();
            ReadOnlySpan<byte> text = Bytes(strings.Offset + offset, strings.Size - offset);
            int end = text.IndexOf((byte)0);
            return Encoding.UTF8.GetString(end < 0 ? text : text[..end]);
        }

        private byte Byte(long at) => Bytes(at, 1)[0];

        private ushort UInt16(long at) => BinaryPrimitives.ReadUInt16LittleEndian(Bytes(at, sizeof(ushort)));

        private uint UInt32(long at) => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(at, sizeof(uint)));

        private ulong UInt64(long at) => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(at, sizeof(ulong)));

        private ReadOnlySpan<byte> Bytes(long at, long count) =>
            at >= 0 && at <= _file.Length - count ? _file.Slice((int)at, (int)count) : throw Damaged();

        private static InvalidDataException Damaged() => new("the cubin is damaged: it refers to what lies outside the file");

        public readonly record struct Section(uint Name, long Offset, long Size);
    }
}
