namespace DwrSeg.PtxEmulator;

/// <summary>The classes that executed instructions are counted in.</summary>
internal enum InstructionClass
{
    Integer,
    Float32,
    Float64,
    Float16,
    Conversion,
    Move,
    Special,
    Mma,
    Wgmma,
    LoadGlobal,
    StoreGlobal,
    LoadShared,
    StoreShared,
    LoadLocal,
    StoreLocal,
    LoadConstant,
    LoadParameter,
    Atomic,
    CpAsync,
    LdMatrix,
    WarpWide,
    Branch,
    Barrier,
    Fence,
    Other,
}
