from setuptools import setup

setup(
    name="stepimp",
    version="0.1.0",
    description="Step importance and model schedules for masked diffusion language models",
    license="MIT",
    python_requires=">=3.11",
    packages=["stepimp", "stepimp.kernels", "stepimp.commands", "stepimp.plots", "stepimp.fixtures"],
    package_dir={
        "stepimp": "stepimp",
        "stepimp.commands": "commands",
        "stepimp.plots": "plots",
        "stepimp.fixtures": "fixtures",
    },
    package_data={
        "stepimp.fixtures": ["*.json", "*/*.json", "*/*/*.json", "*/*/*.safetensors"],
        "stepimp.plots": ["page/*"],
    },
    install_requires=[
        "torch>=2.13",
        "transformers>=5.17,<6",
        "accelerate>=1.10",
        "datasets>=5",
        "huggingface_hub>=1",
        "tokenizers",
        "safetensors",
        "numpy>=2",
        "scipy>=1.15",
        "matplotlib>=3.10",
        "click>=8.2",
        "rich>=13",
    ],
    extras_require={
        "test": ["pytest>=8", "triton>=3.6; platform_system == 'Linux'"],
        "flash": ["flash-attn>=2.8"],
    },
    entry_points={"console_scripts": ["stepimp = stepimp.commands:main"]},
)
